package org.attn4j.samples;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.attn4j.samples.Jdk.Outcome;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.Test;

/** A named module that requires org.attn4j and nothing else: compiled, run, and linked. */
public class ModulePathTest {
  private static final String MODULES = Jdk.jars("attn4j", "javacpp", "cuda", "gson");
  private static final String NATIVES = "org.attn4j.natives.linux.x86_64";
  private static final String PROGRAM =
      """
      package my.app;

      import org.attn4j.*;

      public class Main {
        public static void main(String[] args) {
          long[] shape = {1, 1, 2, 8};
          try (var q = HostTensor.allocate(DType.FLOAT32, shape);
              var o = HostTensor.allocate(DType.FLOAT32, shape)) {
            Attention.sdpa(AttentionRequest.builder().q(q).k(q).v(q).o(o).build());
            System.out.println("served");
          }
          Attention.backends().forEach(info -> System.out.println(info.name() + ": " + info.reason()));
          for (Module module : ModuleLayer.boot().modules()) {
            System.out.println("module " + module.getName());
          }
        }
      }
      """;

  private Path folder;

  @BeforeClass
  public void compile() throws Exception {
    folder = Files.createTempDirectory("attn4j-module-path");
    compile("module my.app { requires org.attn4j; }", PROGRAM, "out");
  }

  private void compile(String module, String program, String out) throws Exception {
    Path sources = Files.createDirectories(folder.resolve(out + "-src/my/app"));
    Path descriptor = sources.resolve("../../module-info.java").normalize();
    Files.writeString(descriptor, module);
    Files.writeString(sources.resolve("Main.java"), program);
    Jdk.tool(
        "javac",
        "-Xlint:all,-path",
        "-p",
        MODULES,
        "-d",
        folder.resolve(out).toString(),
        descriptor.toString(),
        sources.resolve("Main.java").toString());
  }

  private static void assertServed(Outcome outcome) {
    assertEquals(outcome.status(), 0, outcome.output());
    List<String> lines = outcome.output().lines().toList();
    assertTrue(lines.contains("served"), outcome.output());
    assertTrue(
        lines.stream().anyMatch(line -> line.startsWith("cpu: exact fp32")), outcome.output());
    // By being there, as no module requires them.
    for (String natives : new String[] {NATIVES, NATIVES + ".sm80", NATIVES + ".sm120"}) {
      assertTrue(lines.contains("module " + natives), outcome.output());
    }
    assertFalse(outcome.output().contains("WARNING"), outcome.output());
    assertFalse(outcome.output().contains("Error"), outcome.output());
  }

  @Test
  public void requiresOfTheApiIsEnough() throws Exception {
    assertServed(
        Jdk.java(
            Jdk.home(),
            List.of(
                "--enable-native-access=org.bytedeco.javacpp,org.attn4j.natives",
                "-p",
                folder.resolve("out") + ":" + MODULES,
                "-m",
                "my.app/my.app.Main")));
  }

  @Test
  public void aLinkedImageRuns() throws Exception {
    Path image = folder.resolve("image");
    Jdk.tool(
        "jlink",
        "--strip-debug",
        "--no-man-pages",
        "--no-header-files",
        "-p",
        folder.resolve("out") + ":" + MODULES,
        "--add-modules",
        "my.app,org.attn4j.platform",
        "--output",
        image.toString());
    assertServed(
        Jdk.java(
            image,
            List.of(
                "--enable-native-access=org.bytedeco.javacpp,org.attn4j.natives",
                "-m",
                "my.app/my.app.Main")));
  }

  @Test
  public void theDoctorIsAModuleToo() throws Exception {
    Outcome outcome =
        Jdk.java(
            Jdk.home(),
            List.of("-p", MODULES, "-m", "org.attn4j.platform/org.attn4j.platform.Doctor"));
    assertTrue(outcome.output().contains("verdict"), outcome.output());
    assertFalse(outcome.output().contains("Exception"), outcome.output());
  }

  @Test
  public void whatIsInternalIsNotExported() {
    for (String internal :
        new String[] {
          "org.attn4j.backend.BackendChain",
          "org.attn4j.runtime.NativeLibrary",
          "org.attn4j.natives.TensorView",
          "org.attn4j.natives.global.attn4j",
          "org.attn4j.presets.attn4j",
        }) {
      String program = "package my.app; public class Main { Object o = " + internal + ".class; }";
      AssertionError error =
          expectThrows(
              AssertionError.class,
              () -> compile("module my.app { requires org.attn4j; }", program, "internal"));
      assertTrue(error.getMessage().contains("is not visible"), error.getMessage());
    }
  }
}
