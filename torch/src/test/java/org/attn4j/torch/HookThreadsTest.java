package org.attn4j.torch;

import static org.attn4j.torch.Hooked.BF16;
import static org.attn4j.torch.Hooked.byPyTorch;
import static org.attn4j.torch.Hooked.random;
import static org.attn4j.torch.Hooked.sdpa;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.LongStream;
import java.util.stream.Stream;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.AutoGradMode;
import org.bytedeco.pytorch.DoubleOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.Assert;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.Test;

/** Many threads, many calls. */
public class HookThreadsTest {
  private static final int THREADS = 4;
  private static final int CALLS = 25_000; // of each thread
  private static final int WINDOW = 50_000;

  private Tensor q;

  @BeforeClass
  public void install() {
    Hooked.install();
    torch.set_num_threads(1); // the calls are tiny: OpenMP's threads would wait for each other
    q = random(BF16, 1, 2, 4, 16);
  }

  @Test
  public void aFlippingSwitchGivesOneOfTheTwoResults() throws InterruptedException {
    Tensor served = sdpa(q, q, q);
    Tensor own = byPyTorch(() -> sdpa(q, q, q));
    AtomicLong wrong = new AtomicLong();
    AtomicLong calls = new AtomicLong();
    HookCounts before = TorchHook.counts();
    Thread[] threads = new Thread[THREADS];
    for (int t = 0; t < THREADS; t++) {
      threads[t] = new Thread(() -> call(served, own, wrong, calls));
      threads[t].start();
    }
    try {
      for (boolean on = false; Stream.of(threads).anyMatch(Thread::isAlive); on = !on) {
        TorchHook.setEnabled(on);
        Thread.sleep(0, 100_000);
      }
    } finally {
      TorchHook.setEnabled(true);
    }
    Assert.assertEquals(wrong.get(), 0);
    Assert.assertEquals(calls.get(), THREADS * CALLS);
    HookCounts counts = TorchHook.counts().since(before);
    Assert.assertEquals(counts.served() + counts.declined(), THREADS * CALLS);
    Assert.assertTrue(counts.of(HookOutcome.SAGE) > 0, counts.toString());
    Assert.assertTrue(counts.of(HookOutcome.SWITCHED_OFF) > 0, counts.toString());
  }

  @SuppressWarnings("try") // guard and scope are there to be closed
  private void call(Tensor served, Tensor own, AtomicLong wrong, AtomicLong calls) {
    try (AutoGradMode guard = new AutoGradMode(false)) {
      for (int i = 0; i < CALLS; i++) {
        try (PointerScope scope = new PointerScope()) {
          Tensor result = sdpa(q, q, q);
          if (!torch.equal(result, served) && !torch.equal(result, own)) {
            wrong.incrementAndGet();
          }
        }
        calls.incrementAndGet();
      }
    }
  }

  /**
   * 250,000 served and 250,000 declined calls, in windows. A leak of one machine word per call adds
   * 800 KiB to every window; caches that fill, compilers at work beside and pages of an arena add
   * to some. So what counts, after the first, is the window that grew least.
   */
  @Test
  @SuppressWarnings("try") // the guard is there to be closed
  public void memoryStaysFlat() throws IOException {
    TensorOptional mask = new TensorOptional(torch.ones(4, 4).to(ScalarType.Bool));
    try (AutoGradMode guard = new AutoGradMode(false)) {
      callBothWays(mask);
      long[] grown = new long[4];
      for (int window = 0; window < grown.length; window++) {
        long before = anonymousKib();
        callBothWays(mask);
        grown[window] = anonymousKib() - before;
      }
      Assert.assertTrue(
          LongStream.of(grown).min().getAsLong() < 200,
          "each 100,000 calls grew memory, by KiB: " + Arrays.toString(grown));
    }
  }

  @SuppressWarnings("try") // the scope is there to be closed
  private void callBothWays(TensorOptional mask) {
    for (int i = 0; i < WINDOW; i++) {
      try (PointerScope scope = new PointerScope()) {
        sdpa(q, q, q);
        torch.scaled_dot_product_attention(q, q, q, mask, 0, false, new DoubleOptional(0.5), false);
      }
    }
  }

  private static long anonymousKib() throws IOException {
    return Files.readAllLines(Path.of("/proc/self/status")).stream()
        .filter(line -> line.startsWith("RssAnon"))
        .mapToLong(line -> Long.parseLong(line.replaceAll("\\D", "")))
        .findFirst()
        .orElseThrow();
  }
}
