package org.attn4j.backend;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.util.Random;
import org.attn4j.Attention;
import org.attn4j.AttentionMask;
import org.attn4j.AttentionOptions;
import org.attn4j.AttentionRequest;
import org.attn4j.DType;
import org.attn4j.HostTensor;
import org.attn4j.InvalidAttentionArgumentException;
import org.attn4j.PackedSequences;
import org.attn4j.testing.PackedCase;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** Packed sequences on the CPU against the formula, and what a request of them refuses. */
public class CpuPackedTest {
  private static final int CASES = 200;

  @Test
  public void eachSequenceIsACallOfItsOwn() {
    Random random = new Random(17);
    for (int n = 0; n < CASES; n++) {
      PackedCase test = new PackedCase(random, AttentionOptions.DEFAULTS, DType.FLOAT32, 6, 40);
      HostTensor o = HostTensor.allocate(DType.FLOAT32, test.q.shape().sizes());
      HostTensor lse = HostTensor.allocate(DType.FLOAT32, 1, test.headsQ, sum(test.queries));
      Attention.sdpa(
          AttentionRequest.builder()
              .q(test.q)
              .k(test.k)
              .v(test.v)
              .o(o)
              .lse(lse)
              .packed(test.packed)
              .options(test.options)
              .build());
      test.forEachRow(
          (head, row, expected) -> {
            float[] found = test.row(o, head, row);
            for (int c = 0; c < found.length; c++) {
              assertEquals(found[c], expected.output()[c], 2e-5, "o of " + test);
            }
            float sum = lse.get(0, head, row);
            boolean same = sum == (float) expected.lse();
            assertTrue(same || Math.abs(sum - expected.lse()) < 2e-5, "lse of " + test);
          });
    }
  }

  private static long sum(int[] lengths) {
    long sum = 0;
    for (int length : lengths) {
      sum += length;
    }
    return sum;
  }

  /** Offsets beyond the rows are cut off, and rows of no sequence keep what they hold. */
  @Test
  public void oddOffsetsAreCutOff() {
    Random random = new Random(3);
    HostTensor q = HostTensor.of(DType.FLOAT32, gaussian(random, 10 * 8), 1, 1, 10, 8);
    HostTensor o = HostTensor.allocate(DType.FLOAT32, 1, 1, 10, 8);
    o.set(7, 0, 0, 9, 0);
    PackedSequences packed =
        new PackedSequences(HostTensor.ofInts(-3, 4, 2, 9), HostTensor.ofInts(0, 5, 5, 99), 9, 9);
    Attention.sdpa(AttentionRequest.builder().q(q).k(q).v(q).o(o).packed(packed).build());
    assertEquals(o.get(0, 0, 9, 0), 7f);
    for (int c = 0; c < 8; c++) {
      assertTrue(Float.isFinite(o.get(0, 0, 3, c)) && o.get(0, 0, 3, c) != 0f);
    }
  }

  private static float[] gaussian(Random random, int count) {
    float[] values = new float[count];
    for (int i = 0; i < count; i++) {
      values[i] = (float) random.nextGaussian();
    }
    return values;
  }

  /** Sentence, and what makes it. */
  @DataProvider
  public Object[][] mistakes() {
    HostTensor two = HostTensor.ofInts(0, 4);
    HostTensor three = HostTensor.ofInts(0, 2, 4);
    HostTensor floats = HostTensor.allocate(DType.FLOAT32, 2);
    PackedSequences good = PackedSequences.ofLengths(new int[] {4}, new int[] {4});
    return new Object[][] {
      {
        "packed.cuSeqlensQ is null; INT32 (count + 1) is needed",
        (Runnable) () -> new PackedSequences(null, two, 4, 4)
      },
      {
        "packed.cuSeqlensK is FLOAT32 [2]; contiguous INT32 (count + 1) is accepted",
        (Runnable) () -> new PackedSequences(two, floats, 4, 4)
      },
      {
        "cuSeqlensK has 3 offsets and cuSeqlensQ 2; they must agree",
        (Runnable) () -> new PackedSequences(two, three, 4, 4)
      },
      {
        "keys[1] is -1; lengths of 0 or more, together below 2^31, are accepted",
        (Runnable) () -> PackedSequences.ofLengths(new int[] {1}, new int[] {1, -1})
      },
      {
        "packed.maxSeqlenQ is 5; 0 to 4 are accepted",
        (Runnable) () -> request(1).packed(new PackedSequences(two, two, 5, 4)).build()
      },
      {
        "q has batch 2; packed sequences are rows of one batch entry",
        (Runnable) () -> request(2).packed(good).build()
      },
      {
        "mask is set beside packed sequences, which take neither lengths nor masks but a causal one",
        (Runnable) () -> request(1).packed(good).mask(AttentionMask.slidingWindow(1, 1)).build()
      },
      {
        "kvLengths is set beside packed sequences, which take neither lengths nor masks but a"
            + " causal one",
        (Runnable) () -> request(1).packed(good).kvLengths(HostTensor.ofInts(3)).build()
      },
    };
  }

  private static AttentionRequest.Builder request(int batch) {
    HostTensor q = HostTensor.allocate(DType.FLOAT32, batch, 1, 4, 8);
    HostTensor o = HostTensor.allocate(DType.FLOAT32, batch, 1, 4, 8);
    return AttentionRequest.builder().q(q).k(q).v(q).o(o);
  }

  @Test(dataProvider = "mistakes")
  public void mistakesHaveASentence(String sentence, Runnable mistake) {
    InvalidAttentionArgumentException e =
        expectThrows(InvalidAttentionArgumentException.class, mistake::run);
    assertEquals(e.getMessage(), sentence);
  }
}
