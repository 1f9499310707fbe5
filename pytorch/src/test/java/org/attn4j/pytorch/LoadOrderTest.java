package org.attn4j.pytorch;

import static org.testng.Assert.assertEquals;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.attn4j.Attention;
import org.attn4j.AttentionOptions;
import org.attn4j.BackendMode;
import org.attn4j.CudaDevices;
import org.attn4j.CudaStream;
import org.attn4j.DType;
import org.attn4j.DeviceTensor;
import org.attn4j.SdpaBackend;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.SkipException;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/**
 * Our library has a CUDA runtime of its own linked in, PyTorch loads a shared one. Either may be
 * loaded, and have made its context, before the other: each order in a Java process of its own,
 * with one attention call compared with PyTorch's.
 */
public class LoadOrderTest {
  private static final String OURS_FIRST = "ours-first";
  private static final String PYTORCH_FIRST = "pytorch-first";
  private static final int SKIPPED = 77;
  private static final long TIMEOUT_SECONDS = 180;

  @DataProvider
  public Object[][] orders() {
    return new Object[][] {{OURS_FIRST}, {PYTORCH_FIRST}};
  }

  @Test(dataProvider = "orders")
  public void bothLibrariesServeInOneProcess(String order)
      throws IOException, InterruptedException {
    Path output = Files.createTempFile("load-order", ".txt");
    try {
      Process process =
          new ProcessBuilder(command(order))
              .redirectErrorStream(true)
              .redirectOutput(output.toFile())
              .start();
      if (!process.waitFor(TIMEOUT_SECONDS, TimeUnit.SECONDS)) {
        process.destroyForcibly();
        throw new AssertionError("still running: " + Files.readString(output));
      }
      String text = Files.readString(output);
      if (process.exitValue() == SKIPPED) {
        throw new SkipException(text.trim());
      }
      assertEquals(process.exitValue(), 0, text);
      System.out.println(text.trim());
    } finally {
      Files.deleteIfExists(output);
    }
  }

  /** This Java, this class path, and the properties that say where libraries are. */
  private static List<String> command(String order) {
    List<String> command = new ArrayList<>();
    command.add(System.getProperty("java.home") + File.separator + "bin" + File.separator + "java");
    for (String name : System.getProperties().stringPropertyNames()) {
      if (name.startsWith("org.bytedeco.")
          || name.startsWith("org.attn4j.")
          || name.equals("java.library.path")) {
        command.add("-D" + name + "=" + System.getProperty(name));
      }
    }
    // Surefire's own class path is a JAR that names the real one.
    command.add("-cp");
    command.add(
        System.getProperty("surefire.test.class.path", System.getProperty("java.class.path")));
    command.add(LoadOrderTest.class.getName());
    command.add(order);
    return command;
  }

  /** The process of one order. Exits with 77 where there is nothing to test. */
  @SuppressWarnings("try") // the scope is there to be closed
  public static void main(String[] args) {
    try (PointerScope scope = new PointerScope()) {
      boolean oursFirst = args[0].equals(OURS_FIRST);
      boolean usable = oursFirst ? useOurs() && usePyTorch() : usePyTorch() && useOurs();
      if (!usable) {
        System.exit(SKIPPED);
      }
      Tensor q = torch.randn(new long[] {2, 8, 1024, 64}, Torch.options(ScalarType.Half, true));
      Tensor actual = Attn4j.scaled_dot_product_attention(q, q, q, exact());
      Torch.Difference difference =
          Torch.Difference.of(actual, torch.scaled_dot_product_attention(q, q, q));
      System.out.println(args[0] + ": " + difference);
      if (!(difference.relativeL1() <= 0x1p-9)) { // as in CudaRandomTest
        throw new AssertionError("the results differ");
      }
    }
  }

  private static AttentionOptions exact() {
    return AttentionOptions.builder().backend(SdpaBackend.EXACT).mode(BackendMode.REQUIRE).build();
  }

  /** Loads our library, allocates with its runtime, runs a kernel and waits for it. */
  private static boolean useOurs() {
    if (CudaDevices.count() == 0) {
      System.out.println("no GPU that our library can use");
      return false;
    }
    try (DeviceTensor q = DeviceTensor.allocate(0, DType.FLOAT16, 1, 1, 64, 64)) {
      q.memory().fill(0, CudaStream.defaultStream(0));
      Attention.sdpa(q, q, q, exact()).close();
      CudaStream.defaultStream(0).synchronize();
    }
    return true;
  }

  /** Loads libtorch, allocates with its runtime, runs a kernel and waits for it. */
  private static boolean usePyTorch() {
    if (!torch.cuda_is_available()) {
      System.out.println("no CUDA device, or PyTorch's CPU build");
      return false;
    }
    try (Tensor ones = torch.ones(new long[] {64, 64}, Torch.options(ScalarType.Half, true))) {
      return ones.sum().item_double() == 4096;
    }
  }
}
