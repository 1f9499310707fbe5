package org.attn4j;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;

import java.util.HashSet;
import java.util.Random;
import java.util.Set;
import org.testng.annotations.Test;

/**
 * Overlap against the sets of bytes themselves, and the layouts in which outputs share a buffer
 * with inputs.
 */
public class OverlapTest {
  private final DeviceMemory memory = DeviceMemory.wrap(0, 1 << 20, 1L << 40);

  private DeviceTensor view(long element, TensorShape shape) {
    return DeviceTensor.view(memory, 2 * element, DType.FLOAT16, shape);
  }

  @Test
  public void packedByHead() { // (b, s, 4, h, d): row by row
    TensorShape row =
        TensorShape.strided(new long[] {2, 900, 4, 16}, new long[] {230400, 256, 16, 1});
    assertFalse(Overlap.possible(view(0, row), view(64, row)));
    assertFalse(Overlap.possible(view(192, row), view(128, row)));
    assertTrue(Overlap.possible(view(0, row), view(63, row)));
    assertTrue(Overlap.possible(view(0, row), view(256 + 1, row)));
  }

  @Test
  public void packedByBatch() { // (b, 4, h, s, d): batch entry by batch entry, 64-bit offsets
    long batch = (1L << 31) + 640;
    TensorShape entry =
        TensorShape.strided(new long[] {2, 3, 50, 64}, new long[] {batch, 3200, 64, 1});
    assertFalse(Overlap.possible(view(0, entry), view(9600, entry)));
    assertTrue(Overlap.possible(view(0, entry), view(9599, entry)));
  }

  @Test
  public void otherTypesAndRanks() {
    TensorShape sums = TensorShape.contiguous(2, 3, 4);
    DeviceTensor lse = DeviceTensor.view(memory, 4096, DType.FLOAT32, sums);
    assertTrue(Overlap.possible(lse, view(2048 + 47, TensorShape.contiguous(1))));
    assertFalse(Overlap.possible(lse, view(2048 + 48, TensorShape.contiguous(1))));
    assertFalse(Overlap.possible(lse, view(2048, TensorShape.contiguous(3, 0))));
  }

  @Test
  public void hostMemoryIsComparedByBlock() {
    HostTensor a = HostTensor.allocate(DType.FLOAT16, 4);
    assertTrue(Overlap.possible(a, a.slice(0, 1, 2)));
    assertFalse(Overlap.possible(a.slice(0, 0, 1), a.slice(0, 1, 2)));
    assertFalse(Overlap.possible(a, HostTensor.allocate(DType.FLOAT16, 4)));
    assertFalse(Overlap.possible(a, view(0, TensorShape.contiguous(4))));
  }

  @Test
  public void neverMissesAnOverlap() {
    Random random = new Random(20261123);
    int overlaps = 0;
    int falseAlarms = 0;
    int cases = 20000;
    for (int i = 0; i < cases; i++) {
      DeviceTensor a = random(random);
      DeviceTensor b = random(random);
      Set<Long> shared = new HashSet<>(elements(a));
      shared.retainAll(elements(b));
      boolean answer = Overlap.possible(a, b);
      assertEquals(Overlap.possible(b, a), answer);
      if (shared.isEmpty()) {
        falseAlarms += answer ? 1 : 0;
      } else {
        assertTrue(answer, a + " at " + a.byteOffset() + ", " + b + " at " + b.byteOffset());
        overlaps++;
      }
    }
    assertTrue(overlaps > cases / 10, "overlaps: " + overlaps);
    assertTrue(falseAlarms < cases / 20, "false alarms: " + falseAlarms);
  }

  private DeviceTensor random(Random random) {
    long[] sizes = new long[3];
    long[] strides = new long[3];
    long stride = 1;
    for (int i = 2; i >= 0; i--) {
      sizes[i] = 1 + random.nextInt(4);
      strides[i] = stride * (random.nextInt(8) == 0 ? -1 : 1);
      stride *= sizes[i] + random.nextInt(4);
    }
    return view(1000 + random.nextInt(60), TensorShape.strided(sizes, strides));
  }

  private static Set<Long> elements(DeviceTensor tensor) {
    Set<Long> elements = new HashSet<>();
    for (long a = 0; a < tensor.size(0); a++) {
      for (long b = 0; b < tensor.size(1); b++) {
        for (long c = 0; c < tensor.size(2); c++) {
          elements.add(
              tensor.byteOffset() / 2
                  + a * tensor.stride(0)
                  + b * tensor.stride(1)
                  + c * tensor.stride(2));
        }
      }
    }
    return elements;
  }
}
