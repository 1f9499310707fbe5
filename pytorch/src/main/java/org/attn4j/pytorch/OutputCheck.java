package org.attn4j.pytorch;

import java.util.Locale;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import org.attn4j.CausalMask;
import org.attn4j.SdpaBackend;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Compares the first calls of each shape with PyTorch's SDPA, logs cosine similarity and relative
 * L1, and gives up on a backend for a shape as soon as it puts out a number that is not finite
 * where SDPA's is.
 */
final class OutputCheck {
  // A program of ever new shapes must not grow the map for ever.
  private static final int MAX_SHAPES = 1024;

  private final int callsPerShape;
  private final System.Logger logger;
  private final Map<Shape, State> states = new ConcurrentHashMap<>();

  OutputCheck(int callsPerShape, System.Logger logger) {
    this.callsPerShape = callsPerShape;
    this.logger = logger;
  }

  /** What tells calls apart. */
  private record Shape(Sizes sizes, CausalMask causal, Packing packing) {}

  private static final class State {
    final AtomicInteger calls = new AtomicInteger();
    volatile String failure;
  }

  private static Shape shape(SdpaCall call, Sizes sizes) {
    return new Shape(sizes, call.options().causalMask(), call.packing());
  }

  /** Why calls of this shape are left to PyTorch, or null. */
  String failure(SdpaCall call, Sizes sizes) {
    State state = states.get(shape(call, sizes));
    return state == null ? null : state.failure;
  }

  /**
   * The result to return: the output, or SDPA's if the output is not finite, in which case the
   * output is closed.
   */
  Tensor check(SdpaCall call, Sizes sizes, SdpaBackend backend, Tensor output) {
    if (output.is_cuda() && TorchCuda.capturing()) {
      return output; // nothing can be read now
    }
    Shape shape = shape(call, sizes);
    State state = states.get(shape);
    if (state == null) {
      if (states.size() >= MAX_SHAPES) {
        return output;
      }
      state = states.computeIfAbsent(shape, key -> new State());
    }
    if (state.calls.get() >= callsPerShape || state.calls.incrementAndGet() > callsPerShape) {
      return output;
    }
    Tensor expected = TorchSdpa.run(call);
    Comparison comparison = Comparison.of(output, expected);
    if (comparison.finite()) {
      log(System.Logger.Level.INFO, shape, backend, comparison.toString());
      expected.close();
      return output;
    }
    state.failure = "the check found a number in " + backend.id() + "'s output that is not finite";
    log(System.Logger.Level.WARNING, shape, backend, "not finite; PyTorch serves this shape now");
    output.close();
    return expected;
  }

  private void log(System.Logger.Level level, Shape shape, SdpaBackend backend, String text) {
    logger.log(level, "Check of " + backend.id() + " on " + shape.sizes() + ": " + text);
  }

  /**
   * How two outputs compare.
   *
   * @param finite whether the first is finite wherever the second is
   * @param cosine cosine similarity
   * @param relativeL1 sum |a - b| / sum |b|
   */
  record Comparison(boolean finite, double cosine, double relativeL1) {
    @SuppressWarnings("try") // the scope is there to be closed
    static Comparison of(Tensor actual, Tensor expected) {
      try (PointerScope temporaries = new PointerScope()) {
        Tensor bothFine = actual.isfinite().logical_or(expected.isfinite().logical_not());
        Tensor a = actual.to(ScalarType.Double);
        Tensor b = expected.to(ScalarType.Double);
        double dot = a.mul(b).sum().item_double();
        double squares = a.mul(a).sum().item_double() * b.mul(b).sum().item_double();
        double difference = a.sub(b).abs().sum().item_double();
        double size = b.abs().sum().item_double();
        return new Comparison(
            bothFine.all().item_bool(),
            squares == 0 ? 1 : dot / Math.sqrt(squares),
            difference == 0 ? 0 : difference / size);
      }
    }

    @Override
    public String toString() {
      return String.format(Locale.ROOT, "cosine %.6f, L1 %.5f", cosine, relativeL1);
    }
  }
}
