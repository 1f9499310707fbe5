package org.attn4j.pytorch.samples;

import static org.testng.Assert.assertEquals;

import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.spi.ToolProvider;
import java.util.stream.Collectors;
import org.testng.annotations.Test;

/** The drop-in in a named module that requires org.attn4j.pytorch and nothing else. */
public class ModulePathTest {
  private static final List<String> JARS =
      List.of("attn4j", "cuda-", "gson-", "javacpp-", "openblas-", "pytorch-2");
  private static final String PROGRAM =
      """
      package my.app;

      import org.attn4j.*;
      import org.attn4j.pytorch.*;
      import org.bytedeco.pytorch.*;
      import org.bytedeco.pytorch.global.torch;

      public class Main {
        public static void main(String[] args) {
          Tensor q = torch.ones(1, 1, 4, 8);
          System.out.println(Attn4j.scaled_dot_product_attention(q, q, q).sum().item_float());
          try (AttentionScope scope = Attn4j.use(SdpaBackend.CPU)) {
            System.out.println(Attn4j.scaled_dot_product_attention(q, q, q).sum().item_float());
          }
        }
      }
      """;

  @Test
  public void requiresOfTheDropInIsEnough() throws Exception {
    Path folder = Files.createTempDirectory("attn4j-module-path");
    Path descriptor = folder.resolve("module-info.java");
    Path program = folder.resolve("Main.java");
    Files.writeString(descriptor, "module my.app { requires org.attn4j.pytorch; }");
    Files.writeString(program, PROGRAM);
    String modules =
        Arrays.stream(System.getProperty("java.class.path").split(File.pathSeparator))
            .filter(ModulePathTest::isModule)
            .collect(Collectors.joining(File.pathSeparator));
    int compiled =
        ToolProvider.findFirst("javac")
            .orElseThrow()
            .run(
                System.out,
                System.err,
                "-p",
                modules,
                "-d",
                folder.resolve("out").toString(),
                descriptor.toString(),
                program.toString());
    assertEquals(compiled, 0);
    Path output = folder.resolve("output");
    int status =
        new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-Dorg.bytedeco.javacpp.maxPhysicalBytes=0",
                "--enable-native-access=org.bytedeco.javacpp",
                "--add-modules",
                "org.bytedeco.pytorch.linux.x86_64,org.bytedeco.openblas.linux.x86_64",
                "-p",
                folder.resolve("out") + File.pathSeparator + modules,
                "-m",
                "my.app/my.app.Main")
            .redirectOutput(output.toFile())
            .redirectError(folder.resolve("errors").toFile())
            .start()
            .waitFor();
    String errors = Files.readString(folder.resolve("errors"));
    assertEquals(status, 0, Files.readString(output) + errors);
    assertEquals(Files.readString(output), "32.0\n32.0\n", errors);
  }

  private static boolean isModule(String entry) {
    String name = Path.of(entry).getFileName().toString();
    return entry.endsWith("target/classes") || JARS.stream().anyMatch(name::startsWith);
  }
}
