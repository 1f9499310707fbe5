package org.attn4j.pytorch;

import java.util.List;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.UnaryOperator;
import org.attn4j.AttentionOptions;
import org.attn4j.BackendMode;
import org.attn4j.BackendVerdict;
import org.attn4j.BlockGrid;
import org.attn4j.CausalMask;
import org.attn4j.InvalidAttentionArgumentException;
import org.attn4j.SdpaBackend;
import org.attn4j.UnsupportedAttentionException;
import org.attn4j.backend.BackendChain;
import org.attn4j.backend.Plan;
import org.attn4j.torch.TorchHook;
import org.bytedeco.pytorch.Tensor;

/** The walk of one call: check, put as a request if possible, let the chain choose, run. */
final class Dispatch {
  private static final AtomicReference<BackendChain> CHAIN = new AtomicReference<>();

  private static volatile Settings settings =
      new Settings(AttentionOptions.DEFAULTS, Thresholds.MEASURED, null, false);

  private Dispatch() {}

  /** Throws what {@link BackendChain#ofThisProcess} throws, each time. */
  private static BackendChain chain() {
    BackendChain known = CHAIN.get();
    if (known != null) {
      return known;
    }
    CHAIN.compareAndSet(
        null,
        BackendChain.ofThisProcess()
            .withCaller(SdpaBackend.PYTORCH, "torch.scaled_dot_product_attention"));
    return CHAIN.get();
  }

  /**
   * What holds for the whole process.
   *
   * @param defaults options of calls that neither choose nor lie in a scope
   * @param thresholds where auto mode starts
   * @param check compares outputs, or null
   * @param inspectDeviceMasks whether the elements of CUDA masks are read
   */
  record Settings(
      AttentionOptions defaults,
      Thresholds thresholds,
      OutputCheck check,
      boolean inspectDeviceMasks) {

    Settings withDefaults(AttentionOptions value) {
      return new Settings(value, thresholds, check, inspectDeviceMasks);
    }

    Settings withThresholds(Thresholds value) {
      return new Settings(defaults, value, check, inspectDeviceMasks);
    }

    Settings withCheck(int callsPerShape) {
      OutputCheck value =
          callsPerShape == 0
              ? null
              : new OutputCheck(callsPerShape, System.getLogger("org.attn4j"));
      return new Settings(defaults, thresholds, value, inspectDeviceMasks);
    }

    Settings withInspection(boolean value) {
      return new Settings(defaults, thresholds, check, value);
    }
  }

  static Settings settings() {
    return settings;
  }

  static synchronized void change(UnaryOperator<Settings> how) {
    settings = how.apply(settings);
    TorchHook.setDefaults(settings.defaults(), settings.thresholds().forHook());
  }

  /** The options of scope or process, with what a call in PyTorch's terms says itself. */
  static AttentionOptions ambientWith(CausalMask causal, float scale) {
    AttentionOptions ambient = ambient();
    boolean scaled = Float.isFinite(scale);
    if (causal == CausalMask.NONE && !scaled) {
      return ambient;
    }
    AttentionOptions.Builder builder = ambient.toBuilder().causalMask(causal);
    return scaled ? builder.smScale(scale).build() : builder.build();
  }

  /** The options of a call that leaves backend and mode open, with those of its scope. */
  static AttentionOptions inScope(AttentionOptions options) {
    if (options.backend() != SdpaBackend.AUTO || options.mode() != BackendMode.PREFER) {
      return options;
    }
    AttentionOptions outer = ambient();
    if (outer.backend() == SdpaBackend.AUTO && outer.mode() == BackendMode.PREFER) {
      return options;
    }
    return options.toBuilder().backend(outer.backend()).mode(outer.mode()).build();
  }

  /** The options of this thread's scope, else those of the process. */
  static AttentionOptions ambient() {
    AttentionOptions scope = AttentionScope.current();
    return scope == null ? settings.defaults() : scope;
  }

  static Tensor run(SdpaCall call) {
    CallCheck.check(call);
    Settings now = settings;
    String obstacle = obstacle(call);
    if (obstacle != null) {
      return leaveToPyTorch(call, obstacle);
    }
    try (MaskFinding mask = findMask(call, now)) {
      return mask.obstacle() == null
          ? runRequest(call, mask, now)
          : leaveToPyTorch(call, mask.obstacle());
    }
  }

  private static String obstacle(SdpaCall call) {
    return Obstacles.find(call, chain().chosen(call.options()));
  }

  private static MaskFinding findMask(SdpaCall call, Settings now) {
    boolean exact = chain().chosen(call.options()) == SdpaBackend.EXACT;
    return Masks.find(call, now.inspectDeviceMasks(), exact);
  }

  private static Tensor leaveToPyTorch(SdpaCall call, String obstacle) {
    chain().plan(call.options(), obstacle, pyTorchsObstacle(call)); // throws if PyTorch mustn't
    return runPyTorch(call);
  }

  /** Why PyTorch can't serve a call, or null. */
  private static String pyTorchsObstacle(SdpaCall call) {
    return call.needsSparge() ? BackendChain.NEEDS_SPARGE : null;
  }

  private static Tensor runPyTorch(SdpaCall call) {
    Tensor result = TorchSdpa.run(call);
    chain().served(SdpaBackend.PYTORCH);
    return result;
  }

  private static Tensor runRequest(SdpaCall call, MaskFinding mask, Settings now) {
    Geometry shapes = Geometry.of(call);
    String better = reasonForPyTorch(call, shapes, now);
    if (better != null) {
      return leaveToPyTorch(call, better);
    }
    SdpaCall started = startingAt(call, shapes, now);
    Kernels kernels;
    try {
      kernels = Kernels.prepare(started, shapes, mask);
    } catch (InvalidAttentionArgumentException e) {
      return leaveToPyTorch(call, unlessOfSparsity(call, e));
    }
    Tensor output = kernels.output();
    try {
      Plan plan = chain().plan(kernels.request());
      if (plan.backend() == SdpaBackend.PYTORCH) {
        output.close();
        return runPyTorch(call);
      }
      kernels.run(chain(), plan);
      OutputCheck check = now.check();
      return check == null || call.needsSparge() // which PyTorch has no equal of
          ? output
          : check.check(call, shapes.sizes(), plan.backend(), output);
    } catch (RuntimeException e) {
      output.close();
      throw e;
    }
  }

  /**
   * What makes a call that passed {@link CallCheck} no valid request is an obstacle, as PyTorch may
   * serve it; unless it is about SpargeAttn's tensors, which PyTorch would pass over.
   */
  private static String unlessOfSparsity(SdpaCall call, InvalidAttentionArgumentException e) {
    if (call.sparsity() != null) {
      throw e;
    }
    return e.getMessage();
  }

  /** Why PyTorch serves a call that our kernels could serve, or null. */
  private static String reasonForPyTorch(SdpaCall call, Geometry shapes, Settings now) {
    if (now.check() != null && !call.needsSparge()) {
      String failure = now.check().failure(call, shapes.sizes());
      if (failure != null) {
        return failure;
      }
    }
    return measuredStart(call, shapes, now) == SdpaBackend.PYTORCH
        ? "PyTorch's own kernels were measured to be faster at this size"
        : null;
  }

  private static SdpaCall startingAt(SdpaCall call, Geometry shapes, Settings now) {
    SdpaBackend start = measuredStart(call, shapes, now);
    return start == SdpaBackend.AUTO
        ? call
        : call.withOptions(call.options().toBuilder().backend(start).build());
  }

  /** Where the table lets a call start that leaves the choice open; AUTO where it is silent. */
  private static SdpaBackend measuredStart(SdpaCall call, Geometry shapes, Settings now) {
    boolean open =
        call.options().mode() == BackendMode.PREFER
            && chain().chosen(call.options()) == SdpaBackend.AUTO;
    if (!open
        || call.needsSparge()
        || now.thresholds().rules().isEmpty()
        || !call.query().is_cuda()) {
      return SdpaBackend.AUTO;
    }
    int capability = TorchCuda.computeCapability(TorchCuda.device(call.query()));
    return now.thresholds().start(capability, shapes.sizes());
  }

  /** As {@link #run} would choose; runs nothing. */
  static List<BackendVerdict> explain(SdpaCall call) {
    CallCheck.check(call);
    Settings now = settings;
    String obstacle = obstacle(call);
    if (obstacle != null) {
      return chain().explain(call.options(), obstacle, pyTorchsObstacle(call));
    }
    try (MaskFinding mask = findMask(call, now)) {
      return mask.obstacle() == null
          ? explainRequest(call, mask, now)
          : chain().explain(call.options(), mask.obstacle(), pyTorchsObstacle(call));
    }
  }

  private static List<BackendVerdict> explainRequest(
      SdpaCall call, MaskFinding mask, Settings now) {
    Geometry shapes = Geometry.of(call);
    String better = reasonForPyTorch(call, shapes, now);
    if (better != null) {
      return chain().explain(call.options(), better, pyTorchsObstacle(call));
    }
    Kernels kernels;
    try {
      kernels = Kernels.prepare(startingAt(call, shapes, now), shapes, mask);
    } catch (InvalidAttentionArgumentException e) {
      return chain().explain(call.options(), unlessOfSparsity(call, e), pyTorchsObstacle(call));
    }
    try {
      return chain().explain(kernels.request());
    } finally {
      kernels.output().close();
    }
  }

  /**
   * How SpargeAttn divides a call into blocks.
   *
   * @throws UnsupportedAttentionException if it can't serve the call
   */
  static BlockGrid blockGrid(SdpaCall call) {
    CallCheck.check(call);
    String obstacle = obstacle(call);
    if (obstacle != null) {
      throw new UnsupportedAttentionException(
          "SpargeAttn can't serve the call: " + obstacle, List.of());
    }
    Kernels kernels = Kernels.prepare(call, Geometry.of(call), MaskFinding.NOTHING_MASKED);
    try {
      return chain().blockGrid(kernels.request());
    } finally {
      kernels.output().close();
    }
  }
}
