package org.attn4j.backend;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.attn4j.Attention;
import org.attn4j.AttentionRequest;
import org.attn4j.BackendInfo;
import org.attn4j.BackendVerdict;
import org.attn4j.DType;
import org.attn4j.DeviceTensor;
import org.attn4j.TensorShape;
import org.attn4j.UnsupportedAttentionException;
import org.attn4j.runtime.DeviceChoice;
import org.attn4j.runtime.NativeLibrary;
import org.testng.SkipException;
import org.testng.annotations.AfterClass;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/**
 * Backends answer for the device of the request: each serves with the library of that device, and
 * refuses where there is none. A stub driver reports the devices, in a JVM of its own.
 */
public class MixedGpusTest {
  private static final Path ROOT =
      Path.of(System.getProperty("attn4j.root", "..")).toAbsolutePath().normalize();
  private static final Path NATIVES = ROOT.resolve("presets/target/natives");

  private Path scratch;

  @BeforeClass
  public void compileFakeDriver() throws IOException, InterruptedException {
    if (!Files.exists(NATIVES.resolve("link/libattn4j.so"))) {
      throw new SkipException("no native library was built on this machine");
    }
    for (String arch : List.of("sm80", "sm90")) {
      if (!Files.exists(
          NATIVES.resolve(arch + "/org/attn4j/natives/linux-x86_64-" + arch + "/libattn4j.so"))) {
        throw new SkipException(arch + " was not built; the machines here have GPUs for it");
      }
    }
    scratch = Files.createTempDirectory("attn4j-mixed-gpus");
    Process gcc =
        new ProcessBuilder(
                "gcc",
                "-shared",
                "-fPIC",
                "-o",
                scratch.resolve("libcuda.so.1").toString(),
                ROOT.resolve("presets/src/test/cpp/fake_driver.c").toString())
            .inheritIO()
            .start();
    assertEquals(gcc.waitFor(), 0);
  }

  @AfterClass(alwaysRun = true)
  public void removeScratch() throws IOException {
    if (scratch != null) {
      try (Stream<Path> files = Files.walk(scratch)) {
        files.map(Path::toFile).sorted((a, b) -> b.compareTo(a)).forEach(File::delete);
      }
    }
  }

  @DataProvider
  public Object[][] machines() {
    return new Object[][] {{"80,90"}, {"90,80"}, {"75,90"}, {"90,75"}, {"75,80,90"}, {"80"}};
  }

  @Test(dataProvider = "machines")
  public void backendsAnswerForTheDeviceOfTheRequest(String capabilities)
      throws IOException, InterruptedException {
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.add("-cp");
    command.add(classPath());
    command.add(MixedGpusTest.class.getName());
    ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true);
    builder.environment().put("LD_LIBRARY_PATH", scratch.toString());
    builder.environment().put("FAKE_CC", capabilities);
    Process process = builder.start();
    String output = new String(process.getInputStream().readAllBytes());
    assertEquals(process.waitFor(), 0, output);
    assertTrue(output.contains("devices asked: " + capabilities.split(",").length), output);
  }

  private static String classPath() {
    return System.getProperty("surefire.test.class.path", System.getProperty("java.class.path"));
  }

  /** The child: ends with an error if an answer doesn't fit the device. */
  public static void main(String[] args) {
    List<DeviceChoice> choices = NativeLibrary.selection().choices();
    for (DeviceChoice choice : choices) {
      int device = choice.device().ordinal();
      AttentionRequest request = request(device);
      for (BackendVerdict verdict : Attention.explain(request)) {
        check(choice, verdict);
      }
      boolean planned = true;
      try {
        Attention.workspaceSize(request);
        Attention.blockGrid(request);
      } catch (UnsupportedAttentionException e) {
        planned = false;
      }
      require(planned == choice.isServed(), choice + " planned: " + planned);
    }
    for (BackendInfo info : Attention.backends()) {
      require(info.ready(), info.toString());
    }
    System.out.println("devices asked: " + choices.size());
  }

  private static void check(DeviceChoice choice, BackendVerdict verdict) {
    boolean serves = verdict.outcome() == BackendVerdict.Outcome.SERVES;
    String text = choice + ": " + verdict;
    switch (verdict.backend()) {
      case SAGE, EXACT -> {
        require(serves == choice.isServed(), text);
        require(serves || verdict.reason().startsWith("device " + choice.device().ordinal()), text);
      }
      case SPARGE -> require(!serves || choice.isServed(), text);
      default -> {}
    }
    if (serves && verdict.backend() == org.attn4j.SdpaBackend.SAGE) {
      // Hopper's kernels are in its own library alone.
      boolean hopper = choice.arch().orElseThrow().name().equals("sm90");
      require(verdict.reason().contains("wgmma") == hopper, text);
    }
  }

  private static void require(boolean condition, String text) {
    if (!condition) {
      throw new AssertionError(text);
    }
  }

  private static AttentionRequest request(int device) {
    TensorShape shape = TensorShape.contiguous(1, 8, 9000, 128);
    DeviceTensor[] tensors =
        Stream.of(0, 1, 2, 3)
            .map(i -> 0x7000_0000_0000L + ((long) i << 30)) // nothing reads it
            .map(address -> DeviceTensor.wrap(device, address, DType.FLOAT16, shape))
            .collect(Collectors.toList())
            .toArray(new DeviceTensor[0]);
    return AttentionRequest.builder()
        .q(tensors[0])
        .k(tensors[1])
        .v(tensors[2])
        .o(tensors[3])
        .build();
  }
}
