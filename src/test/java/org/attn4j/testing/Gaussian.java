package org.attn4j.testing;

import java.nio.ByteBuffer;
import java.util.Random;
import org.attn4j.BFloat16Bits;
import org.attn4j.DType;
import org.attn4j.Float16Bits;
import org.attn4j.HostMemory;
import org.attn4j.HostTensor;
import org.attn4j.TensorShape;

/**
 * N(0,1) elements, fast enough for millions: read from a pool of fixed numbers at a random start.
 * The pool's length is prime, so that rows of a tensor don't repeat.
 */
public final class Gaussian {
  private static final int POOL = 1048583;
  private static final float[] VALUES = pool();

  private Gaussian() {}

  private static float[] pool() {
    Random random = new Random(20261123);
    float[] values = new float[POOL];
    for (int i = 0; i < POOL; i++) {
      values[i] = (float) random.nextGaussian();
    }
    return values;
  }

  /** Values before rounding to any type. */
  public static float[] values(Random random, int count) {
    float[] values = new float[count];
    int at = random.nextInt(POOL);
    for (int i = 0; i < count; i++) {
      values[i] = VALUES[at];
      at = at + 1 == POOL ? 0 : at + 1;
    }
    return values;
  }

  /** A contiguous tensor of them. */
  public static HostTensor tensor(Random random, DType dtype, long... sizes) {
    int count = (int) TensorShape.contiguous(sizes).elements();
    return of(dtype, values(random, count), sizes);
  }

  /** As {@link HostTensor#of}, over a buffer that is filled in one go. */
  public static HostTensor of(DType dtype, float[] values, long... sizes) {
    ByteBuffer buffer = ByteBuffer.allocateDirect(values.length * dtype.byteSize());
    buffer.order(java.nio.ByteOrder.nativeOrder());
    for (int i = 0; i < values.length; i++) {
      switch (dtype) {
        case FLOAT16 -> buffer.putShort(2 * i, Float16Bits.fromFloat(values[i]));
        case BFLOAT16 -> buffer.putShort(2 * i, BFloat16Bits.fromFloat(values[i]));
        case FLOAT32 -> buffer.putFloat(4 * i, values[i]);
        default -> throw new IllegalArgumentException(dtype.toString());
      }
    }
    return HostTensor.view(HostMemory.wrap(buffer), 0, dtype, TensorShape.contiguous(sizes));
  }
}
