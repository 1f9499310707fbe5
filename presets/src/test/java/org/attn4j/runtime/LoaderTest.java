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
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.attn4j.runtime.Build.Outcome;
import org.testng.SkipException;
import org.testng.annotations.AfterClass;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/**
 * The whole way from the driver to the loaded library, in child processes: a stub driver stands in
 * for the GPU, and copies of one built library stand in for the classifier JARs, so that any
 * architectures can be put on the class path.
 */
public class LoaderTest {
  private static final String FIVE = "80+PTX 86 89 90a 120";
  private static final String CUDA_NO_DEVICE = "100";

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

  @DataProvider
  public Object[][] devices() {
    return new Object[][] {
      // compute capability, classifiers, state, loaded
      {"80", FIVE, "READY", "sm80"},
      {"86", FIVE, "READY", "sm86"},
      {"89", FIVE, "READY", "sm89"},
      {"90", FIVE, "READY", "sm90"},
      {"120", FIVE, "READY", "sm120"},
      {"87", FIVE, "READY", "sm86"},
      {"87", FIVE + " 87", "READY", "sm87"},
      {"100", FIVE, "READY", "sm80"},
      {"103", FIVE, "READY", "sm80"},
      {"121", FIVE, "READY", "sm120"},
      {"90", "80+PTX 120", "READY", "sm80"},
      {"89", "80+PTX 90a", "READY", "sm80"},
      {"90,86", FIVE, "READY", "sm90"},
      {"75", FIVE, "NO_COMPATIBLE_ARCH", "sm80"},
      {"90", "120", "NO_COMPATIBLE_ARCH", "sm120"},
    };
  }

  @Test(dataProvider = "devices")
  public void loadsWhatTheDeviceRuns(
      String capability, String classifiers, String state, String loaded) {
    Outcome report = new Child(classifiers).with("FAKE_CC", capability).report();
    assertEquals(report.value("state"), state, report.output());
    assertLoaded(report, loaded);
  }

  @Test
  public void noDriverStillLoadsForHostCalls() {
    Outcome report = new Child(FIVE).withoutDriver().report();
    assertEquals(report.value("state"), "NO_DRIVER");
    assertLoaded(report, "sm80");
    assertTrue(report.value("obstacle").contains("libcuda.so.1 was not found"));
    assertTrue(Integer.parseInt(report.value("devices")) < 0, report.output());
  }

  @Test
  public void noDevice() {
    Outcome report = new Child(FIVE).with("FAKE_INIT", CUDA_NO_DEVICE).report();
    assertEquals(report.value("state"), "NO_DEVICE");
    assertLoaded(report, "sm80");
  }

  @Test
  public void driverError() {
    Outcome report = new Child(FIVE).with("FAKE_INIT", "803").with("FAKE_CC", "90").report();
    assertEquals(report.value("state"), "DRIVER_ERROR");
    assertTrue(report.value("message").contains("803"));
    assertLoaded(report, "sm80");
  }

  @Test
  public void driverTooOldForTheLibrary() {
    Outcome report = new Child(FIVE).with("FAKE_VERSION", "12040").with("FAKE_CC", "90").report();
    assertEquals(report.value("state"), "DRIVER_ERROR");
    assertTrue(report.value("message").contains("CUDA 12.4"), report.output());
  }

  @Test
  public void noClassifierIsASentenceNotAnError() {
    Outcome report = new Child("").with("FAKE_CC", "90").report();
    assertEquals(report.value("state"), "NO_ARCH_INSTALLED");
    assertTrue(report.value("failure").contains("attn4j-native:linux-x86_64-sm90"));
    assertEquals(report.status(), 0);
  }

  @Test
  public void absentProbeIsASentenceNotAnError() {
    Outcome report = new Child(FIVE).withoutProbe().with("FAKE_CC", "90").report();
    assertEquals(report.value("state"), "DRIVER_ERROR");
    assertTrue(report.value("message").contains("add org.attn4j:attn4j-native:linux-x86_64"));
    assertEquals(report.status(), 0);
  }

  @Test
  public void brokenLibraryIsASentenceNotAnError() throws IOException {
    Child child = new Child("90a").with("FAKE_CC", "90");
    Files.writeString(child.classifier("90a").resolve("libattn4j.so"), "not a library");
    Outcome report = child.report();
    assertEquals(report.status(), 0, report.output());
    assertTrue(report.value("failure").contains("could not be loaded"), report.output());
  }

  @Test
  public void unreadablePropertiesAreIgnored() throws IOException {
    Child child = new Child("86 90a").with("FAKE_CC", "90");
    Files.writeString(child.classifier("86").resolve("arch.properties"), "sass=nonsense\n");
    assertLoaded(child.report(), "sm90");
  }

  @Test
  public void pytorchExtensionDoesNotDisturb() {
    Outcome report =
        new Child(FIVE)
            .with("FAKE_CC", "90")
            .option("-Dorg.bytedeco.javacpp.platform.extension=-gpu")
            .report();
    assertEquals(report.value("state"), "READY");
    assertLoaded(report, "sm90");
  }

  @DataProvider
  public Object[][] spellings() {
    return new Object[][] {{"sm86"}, {"8.6"}, {"86"}, {" sm86 "}};
  }

  @Test(dataProvider = "spellings")
  public void propertyForcesAnArch(String spelling) {
    Outcome report =
        new Child(FIVE).with("FAKE_CC", "89").option("-Dorg.attn4j.arch=" + spelling).report();
    assertEquals(report.value("state"), "READY");
    assertLoaded(report, "sm86");
  }

  @Test
  public void forcedArchThatIsAbsent() {
    Outcome report =
        new Child("86").with("FAKE_CC", "90").option("-Dorg.attn4j.arch=sm90").report();
    assertEquals(report.value("state"), "NO_ARCH_INSTALLED");
    assertTrue(report.value("failure").contains("sm90"));
    assertEquals(report.status(), 0);
  }

  @Test
  public void forcedNonsense() {
    Outcome report = new Child("86").option("-Dorg.attn4j.arch=hopper").report();
    assertEquals(report.value("state"), "NO_ARCH_INSTALLED");
    assertTrue(report.value("failure").contains("'hopper'"));
  }

  @Test
  public void ptxIsWarnedAboutOnce() {
    Outcome report = new Child(FIVE).with("FAKE_CC", "100,100").report();
    long warnings =
        report
            .output()
            .lines()
            .filter(line -> line.matches("WARNING: .*compiled from PTX.*"))
            .count();
    assertEquals(warnings, 1, report.output());
  }

  @Test
  public void devicesAreReported() {
    Outcome report = new Child(FIVE).with("FAKE_CC", "90,86").report();
    assertEquals(report.values("device").size(), 2, report.output());
    assertTrue(report.values("device").get(1).contains("Fake GPU 1"), report.output());
  }

  private static void assertLoaded(Outcome report, String arch) {
    assertEquals(report.value("failure"), "", report.output());
    assertEquals(report.value("arch"), arch, report.output());
    String folder = "linux-x86_64-" + arch + "/";
    assertTrue(report.value("library").contains(folder), report.output());
    assertTrue(report.value("glue").contains(folder), report.output());
    assertNotEquals(report.value("abi"), "0");
  }

  /** A JVM with the given classifiers on its class path. */
  private final class Child {
    private final Path root;
    private final Map<String, String> environment = new HashMap<>();
    private final List<String> options = new ArrayList<>();
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
      for (String library : new String[] {"libattn4j.so", "libjniattn4j.so"}) {
        Files.copy(builtLibraries.resolve(library), folder.resolve(library));
      }
      String sass = code.replace("+PTX", "");
      Files.writeString(
          folder.resolve("arch.properties"),
          "arch=sm%s%nsass=%s%nptx=%s%ncuda=13.0%n"
              .formatted(sass.replaceAll("\\D", ""), sass, code.equals(sass) ? "" : sass));
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
