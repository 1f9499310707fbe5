package org.attn4j.runtime;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;

import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.attn4j.runtime.Arch.Fit;
import org.attn4j.runtime.Selection.State;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/**
 * The rule of the choice, without any native code: {@link LoaderTest} repeats it with a driver and
 * libraries.
 */
public class ArchSelectorTest {
  private static final String PLATFORM = "linux-x86_64";
  private static final String FIVE = "80+PTX 86 89 90a 120";

  @DataProvider
  public Object[][] choices() {
    return new Object[][] {
      // compute capabilities, installed, state, chosen, its fit on device 0
      {"80", FIVE, State.READY, "sm80", Fit.EXACT},
      {"86", FIVE, State.READY, "sm86", Fit.EXACT},
      {"89", FIVE, State.READY, "sm89", Fit.EXACT},
      {"90", FIVE, State.READY, "sm90", Fit.EXACT},
      {"120", FIVE, State.READY, "sm120", Fit.EXACT},
      {"87", FIVE, State.READY, "sm86", Fit.SAME_MAJOR},
      {"87", FIVE + " 87", State.READY, "sm87", Fit.EXACT},
      {"121", FIVE, State.READY, "sm120", Fit.SAME_MAJOR},
      {"100", FIVE, State.READY, "sm80", Fit.PTX},
      {"103", FIVE, State.READY, "sm80", Fit.PTX},
      {"100", FIVE + " 100", State.READY, "sm100", Fit.EXACT},
      {"103", FIVE + " 100", State.READY, "sm100", Fit.SAME_MAJOR},
      {"121", "80+PTX 120a", State.READY, "sm80", Fit.PTX},
      {"90", "80+PTX 86 89 120", State.READY, "sm80", Fit.PTX},
      {"89", "80+PTX 90a 120", State.READY, "sm80", Fit.SAME_MAJOR},
      {"75", FIVE, State.NO_COMPATIBLE_ARCH, "sm80", Fit.NONE},
      {"90", "120", State.NO_COMPATIBLE_ARCH, "sm120", Fit.NONE},
      {"80", "86", State.NO_COMPATIBLE_ARCH, "sm86", Fit.NONE},
      // Several devices: each gets the best for itself, and the first that gets one is named.
      {"90,86", FIVE, State.READY, "sm90", Fit.EXACT},
      {"86,80", FIVE, State.READY, "sm86", Fit.EXACT},
      {"86,89", FIVE, State.READY, "sm86", Fit.EXACT},
      {"89,89", FIVE, State.READY, "sm89", Fit.EXACT},
      {"75,89", FIVE, State.READY, "sm89", Fit.NONE},
    };
  }

  @Test(dataProvider = "choices")
  public void choosesByRule(
      String capabilities, String installed, State state, String chosen, Fit fit) {
    Selection selection = selector(driver(capabilities), installed).select();
    assertEquals(selection.state(), state, selection.message());
    assertEquals(selection.arch().orElseThrow().name(), chosen, selection.message());
    assertEquals(selection.fit(0), fit, selection.message());
  }

  @DataProvider
  public Object[][] obstacles() {
    return new Object[][] {
      {
        new Driver(Driver.NOT_FOUND, 0, List.of(), ""), State.NO_DRIVER, "install the NVIDIA driver"
      },
      {new Driver(Driver.NOT_A_DRIVER, 0, List.of(), ""), State.DRIVER_ERROR, "a stub"},
      {new Driver(Driver.NOT_ASKED, 0, List.of(), "no probe"), State.DRIVER_ERROR, "no probe"},
      {
        new Driver(Driver.NOT_OPENED, 0, List.of(), "wrong ELF class"),
        State.DRIVER_ERROR,
        "is there and can't be opened: wrong ELF class"
      },
      {new Driver(100, 13000, List.of(), ""), State.NO_DEVICE, "CUDA_VISIBLE_DEVICES"},
      {new Driver(0, 13000, List.of(), ""), State.NO_DEVICE, "CUDA_VISIBLE_DEVICES"},
      {new Driver(803, 13000, List.of(), ""), State.DRIVER_ERROR, "reboot"},
      {new Driver(0, 12080, devices("90"), ""), State.DRIVER_ERROR, "serves CUDA 12.8"},
    };
  }

  @Test(dataProvider = "obstacles")
  public void obstaclesAreNamedAndLeaveALibraryForHostCalls(
      Driver driver, State state, String fragment) {
    Selection selection = selector(driver, FIVE).select();
    assertEquals(selection.state(), state);
    assertTrue(selection.message().contains(fragment), selection.message());
    assertTrue(selection.arch().isPresent());
    assertFalse(selection.isReady());
  }

  @Test
  public void newerMinorVersionOfTheDriverIsFine() {
    assertEquals(
        selector(new Driver(0, 13020, devices("90"), ""), FIVE).select().state(), State.READY);
  }

  @Test
  public void nothingInstalledNamesTheCoordinateForTheDevice() {
    Selection selection = selector(driver("87"), "").select();
    assertEquals(selection.state(), State.NO_ARCH_INSTALLED);
    assertTrue(selection.arch().isEmpty());
    assertTrue(selection.message().contains("compute capability 8.7"), selection.message());
    assertTrue(
        selection.message().contains("org.attn4j:attn4j-native:linux-x86_64-sm86"),
        selection.message());
  }

  @Test
  public void nothingInstalledWithoutADeviceNamesThePlatformArtifact() {
    Driver none = new Driver(Driver.NOT_FOUND, 0, List.of(), "");
    Selection selection = selector(none, "").select();
    assertEquals(selection.state(), State.NO_ARCH_INSTALLED);
    assertTrue(selection.message().contains("org.attn4j:attn4j-platform"), selection.message());
  }

  @Test
  public void otherPlatformsAreNamed() {
    Driver none = new Driver(Driver.NOT_ASKED, 0, List.of(), "");
    for (String platform : List.of("macosx-arm64", "windows-x86_64", "linux-arm64")) {
      Selection selection = new ArchSelector(none, Inventory.of(List.of()), platform).select();
      assertEquals(selection.state(), State.NO_ARCH_INSTALLED);
      String remedy =
          switch (platform) {
            case "linux-arm64" -> "build them with mvn -Djavacpp.platform=linux-arm64";
            case "windows-x86_64" -> "the CPU backend serves here, or run it under Linux";
            default -> "the CPU backend serves here";
          };
      assertTrue(selection.message().contains("and this is " + platform), selection.message());
      assertTrue(selection.message().contains(remedy), selection.message());
    }
  }

  @Test
  public void anotherPlatformsJarsAreItsOwn() {
    Driver orin = new Driver(0, 13000, List.of(new Device(0, 87, "Orin")), "");
    Arch arch = new Arch("sm87", List.of("87"), List.of(), "13.0");
    Selection built = new ArchSelector(orin, Inventory.of(List.of(arch)), "linux-arm64").select();
    assertEquals(built.state(), State.READY, built.message());
    assertEquals(
        Inventory.library(arch, "linux-arm64"), "org/attn4j/natives/linux-arm64-sm87/libattn4j.so");
    Arch hopper = new Arch("sm90", List.of("90a"), List.of(), "13.0");
    Selection other = new ArchSelector(orin, Inventory.of(List.of(hopper)), "linux-arm64").select();
    assertTrue(other.message().contains("attn4j-native:linux-arm64-sm8"), other.message());
  }

  @Test
  public void incompatibleNamesDeviceJarsAndRemedy() {
    String message = selector(driver("90"), "120 86").select().message();
    assertTrue(message.contains("compute capability 9.0"), message);
    assertTrue(message.contains("sm120, sm86"), message);
    assertTrue(message.contains("linux-x86_64-sm90"), message);
    String old = selector(driver("75"), FIVE).select().message();
    assertTrue(old.contains("8.0 or newer"), old);
  }

  @DataProvider
  public Object[][] mixtures() {
    return new Object[][] {
      // compute capabilities, installed, what each device uses
      {"90,86", FIVE, "sm90 sm86"},
      {"86,80", FIVE, "sm86 sm80"},
      {"90,120,90", FIVE, "sm90 sm120 sm90"},
      {"75,86", FIVE, "- sm86"},
      {"100,90", FIVE, "sm80 sm90"},
      {"90,120", "90a", "sm90 -"},
      {"86,120", "80 90a", "sm80 -"},
    };
  }

  @Test(dataProvider = "mixtures")
  public void eachDeviceGetsTheBestForItself(String capabilities, String installed, String uses) {
    Selection selection = selector(driver(capabilities), installed).select();
    assertEquals(
        selection.choices().stream()
            .map(choice -> choice.arch().map(Arch::name).orElse("-"))
            .collect(Collectors.joining(" ")),
        uses,
        selection.message());
    for (DeviceChoice choice : selection.choices()) {
      assertEquals(
          selection.obstacle(choice.device().ordinal()).isEmpty(), choice.isServed(), uses);
    }
  }

  @Test
  public void unservedDevicesAreNamedWithTheirReason() {
    Selection selection = selector(driver("75,86"), FIVE).select();
    String message = selection.message();
    assertTrue(message.startsWith("compute capability 8.6 uses sm86 (found sm80, "), message);
    assertTrue(
        message.contains("; not served: device 0, compute capability 7.5 can't run sm80, "),
        message);
    String obstacle = selection.obstacle(0).orElseThrow();
    assertTrue(obstacle.startsWith("device 0: compute capability 7.5 can't run"), obstacle);
    assertTrue(obstacle.endsWith("attn4j needs compute capability 8.0 or newer"), obstacle);
    assertEquals(
        selection.obstacle(2).orElseThrow(),
        "there is no device 2; the driver sees 2, counted from 0");
  }

  @Test
  public void forcedHoldsForAllDevices() {
    Selection selection = selector(driver("90,86"), FIVE).selectForced("sm86");
    assertEquals(selection.state(), State.READY);
    assertEquals(selection.fit(1), Fit.EXACT);
    String obstacle = selection.obstacle(0).orElseThrow();
    assertTrue(obstacle.contains("can't run sm86, forced by org.attn4j.arch"), obstacle);
  }

  /** Driver, compute capability, CUDA version of the libraries, state, a part of the sentence. */
  @DataProvider
  public Object[][] versions() {
    return new Object[][] {
      // Binary code runs on drivers of its major version or newer.
      {13000, "90", "13.2", State.READY, "uses sm90"},
      {14000, "90", "13.2", State.READY, "uses sm90"},
      {12080, "90", "13.2", State.DRIVER_ERROR, "serves CUDA 12.8"},
      // PTX is compiled by the driver, which has to know its version.
      {13000, "100", "13.2", State.DRIVER_ERROR, "sm80's PTX of CUDA 13.2"},
      {13010, "100", "13.2", State.DRIVER_ERROR, "this one serves CUDA 13.1"},
      {13020, "100", "13.2", State.READY, "compiled from PTX"},
      {13020, "100", "13.0", State.READY, "compiled from PTX"},
      {0, "100", "13.2", State.READY, "compiled from PTX"},
      // One of two devices needs the PTX.
      {13000, "90,100", "13.2", State.READY, "not served: device 1"},
    };
  }

  @Test(dataProvider = "versions")
  public void driverRunsBinaryCodeOfItsMajorVersionAndPtxOfItsOwn(
      int driver, String capabilities, String cuda, State state, String fragment) {
    Selection selection =
        new ArchSelector(
                new Driver(0, driver, devices(capabilities), ""),
                Inventory.of(archs(FIVE, cuda)),
                PLATFORM)
            .select();
    assertEquals(selection.state(), state, selection.message());
    assertTrue(selection.message().contains(fragment), selection.message());
  }

  @Test
  public void emptyJarsAreNotMissingOnes() {
    Map<String, String> empty =
        Map.of("sm80", "it was built without natives, as natives=skip", "sm90", "no nvcc");
    String none =
        new ArchSelector(driver("90"), new Inventory(List.of(), empty, List.of()), PLATFORM)
            .select()
            .message();
    assertTrue(none.contains("(sm80, sm90) are empty"), none);
    assertTrue(none.contains("as natives=skip"), none);
    assertEquals(
        new Inventory(List.of(), empty, List.of("x.jar is damaged: cut off")).faults(),
        List.of(
            "x.jar is damaged: cut off",
            "empty JARs of sm80: it was built without natives, as natives=skip",
            "empty JARs of sm90: no nvcc"));
    String other =
        new ArchSelector(
                driver("90"), new Inventory(archs("86", "13.0"), empty, List.of()), PLATFORM)
            .select()
            .message();
    assertTrue(other.contains("linux-x86_64-sm90 is on the class path, but empty"), other);
    assertFalse(other.contains("add org.attn4j"), other);
  }

  @Test
  public void forcedIsTakenWhateverFitsBetter() {
    Selection selection = selector(driver("90"), FIVE).selectForced("sm80");
    assertEquals(selection.state(), State.READY);
    assertEquals(selection.arch().orElseThrow().name(), "sm80");
    assertEquals(selection.fit(0), Fit.PTX);
  }

  @Test
  public void forcedButUnableSaysSo() {
    Selection selection = selector(driver("86"), FIVE).selectForced("sm90");
    assertEquals(selection.state(), State.NO_COMPATIBLE_ARCH);
    assertEquals(selection.arch().orElseThrow().name(), "sm90");
    assertTrue(selection.message().contains("forced by org.attn4j.arch"), selection.message());
  }

  @Test
  public void forcedButAbsentSaysWhatIsThere() {
    Selection selection = selector(driver("86"), "80 89").selectForced("sm90");
    assertEquals(selection.state(), State.NO_ARCH_INSTALLED);
    assertTrue(selection.arch().isEmpty());
    assertTrue(selection.message().contains("sm80, sm89"), selection.message());
    assertTrue(selection.message().contains("linux-x86_64-sm90"), selection.message());
  }

  @Test
  public void everySentenceIsOneSentence() {
    for (String capabilities : new String[] {"", "75", "90", "90,86", "103"}) {
      for (String installed : new String[] {"", FIVE, "90a"}) {
        String message = selector(driver(capabilities), installed).select().message();
        assertFalse(message.contains("\n"), message);
        assertFalse(message.contains("null"), message);
      }
    }
  }

  private static ArchSelector selector(Driver driver, String installed) {
    return new ArchSelector(driver, Inventory.of(archs(installed, "13.0")), PLATFORM);
  }

  private static List<Arch> archs(String installed, String cuda) {
    return Arrays.stream(installed.split(" "))
        .filter(code -> !code.isEmpty())
        .map(code -> arch(code, cuda))
        .toList();
  }

  /** "80+PTX" or "90a". */
  private static Arch arch(String text, String cuda) {
    String code = text.replace("+PTX", "");
    List<String> ptx = text.endsWith("+PTX") ? List.of(code) : List.of();
    return new Arch("sm" + code.replaceAll("\\D", ""), List.of(code), ptx, cuda);
  }

  private static Driver driver(String capabilities) {
    return new Driver(0, 13000, devices(capabilities), "");
  }

  private static List<Device> devices(String capabilities) {
    String[] all = capabilities.isEmpty() ? new String[0] : capabilities.split(",");
    return IntStream.range(0, all.length)
        .mapToObj(i -> new Device(i, Integer.parseInt(all[i]), "GPU " + i))
        .toList();
  }
}
