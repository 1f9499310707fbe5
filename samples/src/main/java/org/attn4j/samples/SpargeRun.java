package org.attn4j.samples;

import java.util.ArrayList;
import java.util.List;
import org.attn4j.Attention;
import org.attn4j.AttentionOptions;
import org.attn4j.AttentionRequest;
import org.attn4j.BlockGrid;
import org.attn4j.DType;
import org.attn4j.DeviceTensor;
import org.attn4j.SdpaBackend;
import org.attn4j.SparsityOptions;
import org.attn4j.SparsityProfile;
import org.attn4j.SparsityTensors;
import org.attn4j.SparsityTuner;

/**
 * SpargeAttn's work on one picture in one order, by the kernel or by {@link SparseReference}.
 *
 * @param order of the tokens
 * @param thresholds what it was allowed to leave out
 * @param arch the native library that ran, or {@code java} for the reference
 * @param denoised what attention made of the picture
 * @param millis time of one call, as {@link BackendRun} has it; NaN for the reference
 * @param map the blocks that were computed
 * @param agreement the share of blocks that the kernel and {@link BlockSelection} treat alike; NaN
 *     for the reference
 */
public record SpargeRun(
    PictureOrder order,
    Thresholds thresholds,
    String arch,
    Picture denoised,
    double millis,
    BlockMap map,
    double agreement) {

  /**
   * Thresholds and what to call them.
   *
   * @param label also a part of file names
   */
  public record Thresholds(String label, SparsityOptions options) {
    /** SpargeAttn's own. */
    public static final Thresholds DEFAULT = new Thresholds("default", SparsityOptions.DEFAULTS);

    /** Trusts the averages of blocks that are less alike, as noise makes them. */
    public static final Thresholds TRUSTING =
        new Thresholds("sim0.3", SparsityOptions.DEFAULTS.withSimthreshd1(0.3f));
  }

  /** What the tuner may change: relative L1 against exact attention. */
  static final SparsityTuner.Budget BUDGET = new SparsityTuner.Budget(0.02f, 0.022f);

  /**
   * Runs the kernel on tokens that come line by line, brought into {@code order}, with the default
   * thresholds, trusting ones, and some tuned for {@link #BUDGET}, or throws
   * org.attn4j.UnsupportedAttentionException with the reason.
   */
  public static List<SpargeRun> onGpu(PatchTokens raster, PictureOrder order) {
    PatchTokens tokens = raster.in(order);
    try (GpuTokens gpu = new GpuTokens(tokens)) {
      List<SpargeRun> runs = new ArrayList<>();
      runs.add(run(gpu, tokens, order, Thresholds.DEFAULT));
      runs.add(run(gpu, tokens, order, Thresholds.TRUSTING));
      runs.add(run(gpu, tokens, order, tuned(gpu, tokens)));
      return runs;
    }
  }

  /**
   * Runs the kernel once on tokens that come line by line, brought into {@code order}, or throws
   * org.attn4j.UnsupportedAttentionException with the reason.
   */
  public static SpargeRun onGpu(PatchTokens raster, PictureOrder order, Thresholds thresholds) {
    PatchTokens tokens = raster.in(order);
    try (GpuTokens gpu = new GpuTokens(tokens)) {
      return run(gpu, tokens, order, thresholds);
    }
  }

  private static SpargeRun run(
      GpuTokens gpu, PatchTokens tokens, PictureOrder order, Thresholds thresholds) {
    AttentionOptions options =
        BackendRun.options(SdpaBackend.SPARGE, tokens).sparsity(thresholds.options()).build();
    AttentionRequest.Builder request = gpu.request(options);
    double millis = gpu.medianMillis(request.build());
    BlockGrid grid = Attention.blockGrid(request.build());
    try (DeviceTensor report =
        DeviceTensor.allocate(
            GpuTokens.DEVICE, DType.INT8, 1, 1, grid.queryBlocks(), grid.keyBlocks())) {
      SparsityTensors tensors = SparsityTensors.builder().blockMap(report).build();
      Attention.sdpa(request.sparsityTensors(tensors).build());
      BlockMap map = BlockMap.of(grid, gpu.read(report));
      BlockMap expected = BlockSelection.select(tokens, thresholds.options(), grid);
      return new SpargeRun(
          order,
          thresholds,
          GpuTokens.arch(),
          tokens.picture(gpu.output()),
          millis,
          map,
          map.agreement(expected));
    }
  }

  private static Thresholds tuned(GpuTokens gpu, PatchTokens tokens) {
    AttentionOptions options = BackendRun.options(SdpaBackend.SPARGE, tokens).build();
    SparsityProfile profile = SparsityTuner.tune(gpu.request(options).build(), BUDGET);
    return new Thresholds(
        "tuned",
        SparsityOptions.DEFAULTS
            .withSimthreshd1(profile.simthreshd1()[0])
            .withCdfthreshd(profile.cdfthreshd()[0])
            .withPvthreshd(profile.pvthreshd()[0]));
  }
}
