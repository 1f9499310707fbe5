package org.attn4j.pytorch;

import java.util.function.IntFunction;
import org.attn4j.CudaEvent;
import org.attn4j.CudaStream;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** Times calls on PyTorch's current stream, in microseconds a call. Closing frees its memory. */
final class CallTimer implements AutoCloseable {
  private static final int MAX_CALLS = 300;
  // Far from the 1024 launches that a stream takes before the host has to wait.
  private static final int MAX_CALLS_AHEAD = 100;
  private static final double TARGET_MICROS = 10_000;
  // From here on the GPU is busy anyway while the host enqueues.
  private static final double LONG_CALL_MICROS = 200;
  private static final long HEAD_START_SIZE = 8192;
  private static final int HEAD_START_PRODUCTS = 4; // 1.1e12 operations each: more than 1 ms

  /**
   * What one round gave.
   *
   * @param wall calls back to back until the last is done: the larger of host and GPU time
   * @param host of enqueuing alone, the GPU being busy with something else
   * @param gpu between two events, the host being ahead
   */
  record Times(double wall, double host, double gpu) {}

  private final CudaStream stream = TorchCuda.currentStream(0);
  private final CudaEvent start = CudaEvent.create(0);
  private final CudaEvent end = CudaEvent.create(0);
  private final Tensor square =
      torch.randn(
          new long[] {HEAD_START_SIZE, HEAD_START_SIZE}, Torch.options(ScalarType.Half, true));

  /** How many calls make a round. */
  int calls(IntFunction<Tensor> call) {
    enqueue(call, 3);
    stream.synchronize();
    long begin = System.nanoTime();
    enqueue(call, 3);
    stream.synchronize();
    double micros = (System.nanoTime() - begin) / 3e3;
    return (int) Math.max(2, Math.min(MAX_CALLS, TARGET_MICROS / micros));
  }

  /** One round; a call gets its number, to take other inputs each time. */
  Times round(IntFunction<Tensor> call, int calls) {
    stream.synchronize();
    long begin = System.nanoTime();
    enqueue(call, calls);
    stream.synchronize();
    double wall = (System.nanoTime() - begin) / 1e3 / calls;
    if (wall < LONG_CALL_MICROS) {
      for (int i = 0; i < HEAD_START_PRODUCTS; i++) {
        square.matmul(square).close();
      }
    }
    int ahead = Math.min(calls, MAX_CALLS_AHEAD);
    start.record(stream);
    begin = System.nanoTime();
    enqueue(call, ahead);
    double host = (System.nanoTime() - begin) / 1e3 / ahead;
    end.record(stream);
    stream.synchronize();
    return new Times(wall, host, start.millisUntil(end) * 1e3 / ahead);
  }

  private static void enqueue(IntFunction<Tensor> call, int calls) {
    for (int i = 0; i < calls; i++) {
      call.apply(i).close();
    }
  }

  @Override
  public void close() {
    square.close();
    end.close();
    start.close();
    stream.close();
  }
}
