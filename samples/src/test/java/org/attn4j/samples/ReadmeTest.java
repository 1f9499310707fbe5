package org.attn4j.samples;

import static org.testng.Assert.assertEquals;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.attn4j.samples.Jdk.Outcome;
import org.testng.annotations.Test;

/** The program in README.md runs as it was pasted, and prints what stands behind it. */
public class ReadmeTest {
  private static final Pattern PROGRAM =
      Pattern.compile("```java\\n([^`]*class (\\w+)[^`]*)```\\n\\n```\\n([^`]*)```");

  @Test
  public void theProgramRunsAsItStands() throws Exception {
    Matcher block = PROGRAM.matcher(Files.readString(Path.of("../README.md")));
    assertEquals(block.find(), true, "README.md has no program with its output");
    Path folder = Files.createTempDirectory("attn4j-readme");
    Path source = folder.resolve(block.group(2) + ".java");
    Files.writeString(source, block.group(1));
    Jdk.tool(
        "javac",
        "-Xlint:all,-path",
        "-cp",
        Jdk.classPath(),
        "-d",
        folder.toString(),
        source.toString());
    Outcome outcome =
        Jdk.java(
            Jdk.home(),
            List.of(
                "--enable-native-access=ALL-UNNAMED",
                "-Djava.util.logging.config.file=/dev/null",
                "-cp",
                folder + ":" + Jdk.classPath(),
                block.group(2)));
    assertEquals(outcome.status(), 0, outcome.output());
    String printed =
        String.join(
            "\n",
            outcome.output().lines().filter(line -> !line.matches("(INFO:|... \\d).*")).toList());
    assertEquals(printed.strip(), block.group(3).strip());
  }
}
