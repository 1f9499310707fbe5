package org.attn4j.runtime;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.util.Arrays;
import java.util.List;
import org.attn4j.runtime.Build.Outcome;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/**
 * The whole way from the driver to the loaded library, in child processes: a stub driver stands in
 * for the GPU, and copies of one built library stand in for the classifier JARs, so that any
 * architectures can be put on the class path.
 */
public class LoaderTest extends LoaderTestBase {
  private static final String CUDA_NO_DEVICE = "100";

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

  @DataProvider
  public Object[][] mixtures() {
    return new Object[][] {
      // compute capabilities, classifiers, what answers on each device
      {"90,80", "80+PTX 90a", "sm90 sm80"},
      {"80,90,80,90", "80+PTX 90a", "sm80 sm90 sm80 sm90"},
      {"90,75", FIVE, "sm90 -"},
      {"75,86", FIVE, "- sm86"},
      {"90,120", FIVE, "sm90 sm120"},
    };
  }

  /** Libraries side by side in one process, each answering for its device. */
  @Test(dataProvider = "mixtures")
  public void eachDeviceHasItsOwnLibrary(String capabilities, String classifiers, String uses) {
    Outcome report = new Child(classifiers).with("FAKE_CC", capabilities).report();
    assertEquals(report.value("state"), "READY", report.output());
    List<String> answers = report.values("uses");
    String[] expected = uses.split(" ");
    assertEquals(answers.size(), expected.length, report.output());
    for (int device = 0; device < expected.length; device++) {
      String answer = answers.get(device);
      String refusal = report.values("refusal").get(device);
      if (expected[device].equals("-")) {
        assertEquals(answer, "", report.output());
        assertTrue(refusal.startsWith("device " + device + ": "), report.output());
        continue;
      }
      assertEquals(refusal, "", report.output());
      assertTrue(answer.startsWith(expected[device] + " "), report.output());
      // Where the real library was built, it is the one that answers.
      String code = expected[device].replace("sm90", "sm90a").substring(2);
      if (Build.classifiers().stream().anyMatch(f -> f.endsWith("linux-x86_64-" + expected[0]))
          && Build.classifiers().size() > 1
          && capabilities.contains("80")) {
        assertTrue(answer.contains(" " + code), report.output());
      }
    }
    long kinds = Arrays.stream(expected).filter(name -> !name.equals("-")).distinct().count();
    assertEquals(report.values("mapped").stream().distinct().count(), kinds, report.output());
    assertTrue(report.value("device 9").contains("there is no device 9"), report.output());
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
}
