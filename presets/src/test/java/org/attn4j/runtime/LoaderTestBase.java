package org.attn4j.runtime;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertNotEquals;
import static org.testng.Assert.assertTrue;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.jar.JarOutputStream;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import java.util.zip.ZipEntry;
import org.attn4j.runtime.Build.Outcome;
import org.testng.SkipException;
import org.testng.annotations.AfterClass;
import org.testng.annotations.BeforeClass;

/**
 * A stub driver that stands in for the GPU, and JVMs with copies of the built libraries as their
 * classifier JARs.
 */
abstract class LoaderTestBase {
  static final String FIVE = "80+PTX 86 89 90a 120";

  private Path scratch;
  private Path fakeDriver;
  private Path builtLibraries;

  @BeforeClass
  public void compileFakeDriver() throws IOException {
    builtLibraries = Build.anyClassifier();
    scratch = Files.createTempDirectory("attn4j-loader-test");
    fakeDriver = Files.createDirectory(scratch.resolve("driver"));
    Outcome gcc =
        Build.run(
            List.of(
                "gcc",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-shared",
                "-fPIC",
                "-o",
                fakeDriver.resolve("libcuda.so.1").toString(),
                Build.ROOT.resolve("presets/src/test/cpp/fake_driver.c").toString()),
            Map.of());
    assertEquals(gcc.status(), 0, gcc.output());
  }

  @AfterClass(alwaysRun = true)
  public void removeScratch() {
    Build.delete(scratch);
  }

  static void assertLoaded(Outcome report, String arch) {
    assertEquals(report.value("failure"), "", report.output());
    assertEquals(report.value("arch"), arch, report.output());
    String folder = "linux-x86_64-" + arch + "/";
    assertTrue(
        report.values("mapped").stream().anyMatch(file -> file.contains(folder)), report.output());
    assertNotEquals(report.value("abi"), "0");
  }

  /** A JVM with the given classifiers on its class path. */
  final class Child {
    final Path root;
    private final Map<String, String> environment = new HashMap<>();
    private final List<String> options = new ArrayList<>();
    private final List<String> jars = new ArrayList<>();
    private boolean probe = true;

    Child(String classifiers) {
      environment.put("LD_LIBRARY_PATH", fakeDriver.toString());
      try {
        root = Files.createTempDirectory(scratch, "child");
        for (String code : classifiers.isEmpty() ? new String[0] : classifiers.split(" ")) {
          install(code);
        }
      } catch (IOException e) {
        throw new java.io.UncheckedIOException(e);
      }
    }

    /** The folder of one classifier, such as "80+PTX" or "90a". */
    Path classifier(String code) {
      return root.resolve("org/attn4j/natives/linux-x86_64-sm" + code.replaceAll("\\D", ""));
    }

    private void install(String code) throws IOException {
      Path folder = Files.createDirectories(classifier(code));
      // The real library if it was built, else a copy of any, which can be told by its path alone.
      Path built =
          Build.classifiers().stream()
              .filter(known -> known.getFileName().equals(folder.getFileName()))
              .findFirst()
              .orElse(builtLibraries);
      Files.copy(built.resolve("libattn4j.so"), folder.resolve("libattn4j.so"));
      String sass = code.replace("+PTX", "");
      Files.writeString(
          folder.resolve("arch.properties"),
          "arch=sm%s%nsass=%s%nptx=%s%ncuda=13.0%n"
              .formatted(sass.replaceAll("\\D", ""), sass, code.equals(sass) ? "" : sass));
    }

    /** Where the probe lies that the child uses if it has none of the build's. */
    Path probe() throws IOException {
      Path folder = root.resolve("org/attn4j/runtime/linux-x86_64");
      return Files.createDirectories(folder).resolve("libjniattn4jprobe.so");
    }

    /** Puts a classifier's folder into a JAR on the class path. */
    Path intoJar(String code) throws IOException {
      Path folder = classifier(code);
      Path jar = root.resolve("attn4j-native-0-" + folder.getFileName() + ".jar");
      try (JarOutputStream out = new JarOutputStream(Files.newOutputStream(jar));
          Stream<Path> files = Files.list(folder)) {
        for (Path file : files.toList()) {
          out.putNextEntry(new ZipEntry(root.relativize(file).toString()));
          Files.copy(file, out);
        }
      }
      Build.delete(folder);
      jars.add(jar.toString());
      return jar;
    }

    Child with(String variable, String value) {
      environment.put(variable, value);
      return this;
    }

    Child withoutDriver() {
      if (Stream.of("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib/wsl/lib")
          .anyMatch(folder -> Files.exists(Path.of(folder, "libcuda.so.1")))) {
        throw new SkipException("this machine has an NVIDIA driver");
      }
      environment.put("LD_LIBRARY_PATH", "");
      return this;
    }

    Child withoutProbe() {
      probe = false;
      return this;
    }

    Child option(String option) {
      options.add(option);
      return this;
    }

    Outcome report() {
      List<String> command = new ArrayList<>(List.of(Build.java()));
      command.add("-Dorg.bytedeco.javacpp.cachedir=" + root.resolve("cache"));
      command.addAll(options);
      command.addAll(List.of("-cp", classPath(), LoaderReport.class.getName()));
      return Build.run(command, environment);
    }

    private String classPath() {
      List<String> entries = new ArrayList<>(List.of(root.toString()));
      entries.addAll(jars);
      if (probe) {
        entries.add(Build.OUTPUT.resolve("natives/base").toString());
      }
      return Stream.concat(
              entries.stream(),
              Arrays.stream(System.getProperty("java.class.path").split(File.pathSeparator)))
          .collect(Collectors.joining(File.pathSeparator));
    }
  }
}
