package org.attn4j.runtime;

import static org.testng.Assert.assertEquals;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.attn4j.runtime.Build.Outcome;
import org.testng.annotations.AfterClass;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/**
 * No order in which threads make their first calls hangs a process. Each run is a fresh JVM; {@code
 * -Dattn4j.startup.runs=300} asks for the long form.
 *
 * <p>A thread that makes a pointer and a thread that loads a library of another preset hang each
 * other in JavaCPP by itself, which nobody else can help; so these two are never in one process
 * here, and each meets ours.
 */
public class StartupRaceTest {
  private static final int RUNS = Integer.getInteger("attn4j.startup.runs", 3);
  private static final String BINDINGS = "org.attn4j.natives.global.attn4j";
  private static final String STRUCT = "org.attn4j.natives.AttentionParams";

  private Path cache;

  @BeforeClass
  public void makeCache() throws IOException {
    cache = Files.createTempDirectory("attn4j-startup-test");
  }

  @AfterClass(alwaysRun = true)
  public void removeCache() {
    Build.delete(cache);
  }

  @DataProvider
  public Object[][] races() {
    return new Object[][] {
      {"free attn4j pointer"},
      {"held attn4j pointer"},
      {"held pointer attn4j"},
      {"held attn4j loader"},
      {"held loader attn4j"},
      {"free attn4j attn4j pointer pointer"},
      {"free attn4j attn4j loader loader"},
      // The generated classes have initialisers of their own.
      {"free " + BINDINGS + " pointer"},
      {"held " + BINDINGS + " pointer attn4j"},
      {"held attn4j " + BINDINGS + " loader"},
      {"held attn4j " + STRUCT + " " + BINDINGS},
    };
  }

  @Test(dataProvider = "races")
  public void noOrderOfFirstCallsHangs(String race) {
    for (int run = 0; run < RUNS; run++) {
      List<String> command = new ArrayList<>(List.of(Build.java(), "-XX:TieredStopAtLevel=1"));
      command.add("-Dorg.bytedeco.javacpp.cachedir=" + cache);
      command.addAll(List.of("-cp", classPath(), StartupRace.class.getName()));
      command.addAll(List.of(race.split(" ")));
      Outcome outcome = Build.run(command, Map.of());
      assertEquals(outcome.status(), 0, race + ", run " + run + ":\n" + outcome.output());
    }
  }

  private static String classPath() {
    List<String> entries = new ArrayList<>();
    entries.add(Build.OUTPUT.resolve("natives/base").toString());
    Build.classifiers().stream()
        .map(folder -> folder.resolve("../../../..").normalize().toString())
        .forEach(entries::add);
    entries.add(System.getProperty("java.class.path"));
    return String.join(File.pathSeparator, entries);
  }
}
