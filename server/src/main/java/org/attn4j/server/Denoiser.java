package org.attn4j.server;

import java.util.Locale;
import java.util.Map;
import java.util.logging.Logger;
import org.attn4j.Attention;
import org.attn4j.BackendInfo;
import org.attn4j.SdpaBackend;
import org.attn4j.UnsupportedAttentionException;
import org.attn4j.samples.BackendRun;
import org.attn4j.samples.BlockMap;
import org.attn4j.samples.BlockRows;
import org.attn4j.samples.BlockSelection;
import org.attn4j.samples.PatchTokens;
import org.attn4j.samples.Picture;
import org.attn4j.samples.SpargeRun;

/**
 * Denoises pictures by attention, exact and, if that is asked for, sparse. Keeps nothing of a
 * request but the exact result; any number of threads may use it.
 */
final class Denoiser {
  private static final Logger LOG = Logger.getLogger(Denoiser.class.getName());
  private static final String EXACT = "exact attention";
  private static final int STEPS = 8; // of attention on the CPU
  private static final int WARM_SIDE = 48;
  private static final String SPARSE = "sparse attention";

  private final ExactCache cache = new ExactCache();

  /** Denoises something small, so that the first request's times aren't the JIT compiler's. */
  void warmUp() {
    Picture grey = Picture.of(WARM_SIDE, WARM_SIDE, new float[3 * WARM_SIDE * WARM_SIDE]);
    Progress nobody =
        new Progress() {
          @Override
          public void done(Step step) {}

          @Override
          public void check() {}
        };
    denoise(
        DenoiseRequest.of(Map.of("size", Integer.toString(WARM_SIDE)), WARM_SIDE), grey, nobody);
  }

  /**
   * @throws Problem if the backend can't serve here or time is up
   */
  DenoiseAnswer denoise(DenoiseRequest request, Picture uploaded, Progress progress) {
    int side = Math.min(uploaded.width(), uploaded.height());
    if (request.side() > side) {
      throw Problem.badRequest(
          "size is "
              + request.side()
              + "; this picture has "
              + side
              + " pixels on its shorter side, which is the most that is accepted");
    }
    SdpaBackend backend = backend(request);
    Picture clean = uploaded.centreSquare(request.side());
    Picture noisy = request.addNoise() ? clean.withNoise(request.sigma(), request.seed()) : clean;
    PatchTokens raster = new PatchTokens(noisy, PatchTokens.filterStrength(request.sigma()));
    PatchTokens tokens = raster.in(request.order());
    try {
      Served exact = exact(request, backend, noisy, tokens, progress);
      Served result =
          request.sparsity() != null
              ? sparse(request, backend, raster, tokens, progress)
              : backend == SdpaBackend.SAGE ? dense(backend, tokens, progress) : exact;
      DenoiseAnswer answer = new DenoiseAnswer(request, clean, noisy, exact, result);
      LOG.info(answer::line);
      return answer;
    } catch (UnsupportedAttentionException e) {
      throw Problem.notHere(e.getMessage());
    }
  }

  private static SdpaBackend backend(DenoiseRequest request) {
    SdpaBackend wanted = request.sparsity() == null ? SdpaBackend.EXACT : SdpaBackend.SPARGE;
    if (request.backend().equals(DenoiseRequest.AUTO)) {
      return info(wanted).ready() ? wanted : SdpaBackend.CPU;
    }
    SdpaBackend backend = SdpaBackend.valueOf(request.backend().toUpperCase(Locale.ROOT));
    if (!info(backend).ready()) {
      throw Problem.notHere(
          "backend is " + backend.id() + ", which can't run here: " + info(backend).reason());
    }
    return backend;
  }

  private static BackendInfo info(SdpaBackend backend) {
    return Attention.backends().stream()
        .filter(info -> info.name().equals(backend.id()))
        .findFirst()
        .orElseThrow();
  }

  private Served exact(
      DenoiseRequest request,
      SdpaBackend backend,
      Picture noisy,
      PatchTokens tokens,
      Progress progress) {
    boolean onCpu = backend == SdpaBackend.CPU;
    SdpaBackend by = onCpu ? SdpaBackend.CPU : SdpaBackend.EXACT;
    String key =
        ExactCache.key(noisy, PatchTokens.filterStrength(request.sigma()), by.id())
            + request.order();
    Served known = cache.get(key);
    if (known != null) {
      return known.fromCache();
    }
    Served exact = onCpu ? onCpu(EXACT, tokens, null, progress) : dense(by, tokens, progress);
    cache.put(key, exact);
    return exact;
  }

  private static Served onCpu(String name, PatchTokens tokens, BlockMap map, Progress progress) {
    BlockMap rows =
        map != null ? map : BlockMap.full(BlockSelection.grid(tokens.count(), tokens.count()));
    try (BlockRows blocks = new BlockRows(tokens, rows)) {
      int steps = Math.min(STEPS, rows.rows());
      double total = 0;
      for (int step = 0; step < steps; step++) {
        progress.check();
        long start = System.nanoTime();
        blocks.run(step * rows.rows() / steps, (step + 1) * rows.rows() / steps);
        double millis = (System.nanoTime() - start) / 1e6;
        total += millis;
        progress.done(new Progress.Step(name, SdpaBackend.CPU.id(), step + 1, steps, millis));
      }
      Picture picture = tokens.picture(blocks.output());
      return new Served(SdpaBackend.CPU.id(), blocks.kernel(), picture, total, map, false);
    }
  }

  private static Served sparse(
      DenoiseRequest request,
      SdpaBackend backend,
      PatchTokens raster,
      PatchTokens tokens,
      Progress progress) {
    if (backend == SdpaBackend.CPU) {
      long start = System.nanoTime();
      BlockMap map =
          BlockSelection.select(
              tokens, request.sparsity(), BlockSelection.grid(tokens.count(), tokens.count()));
      double millis = (System.nanoTime() - start) / 1e6;
      progress.done(new Progress.Step("choosing blocks", "java", 1, 1, millis));
      Served rows = onCpu(SPARSE, tokens, map, progress);
      String kernel = rows.kernel() + ", over the blocks that SpargeAttn's rule chose, in Java";
      return new Served(rows.backend(), kernel, rows.picture(), rows.millis() + millis, map, false);
    }
    SpargeRun run =
        SpargeRun.onGpu(
            raster, request.order(), new SpargeRun.Thresholds("asked", request.sparsity()));
    progress.done(new Progress.Step(SPARSE, backend.id(), 1, 1, run.millis()));
    return new Served(backend.id(), run.arch(), run.denoised(), run.millis(), run.map(), false);
  }

  private static Served dense(SdpaBackend backend, PatchTokens tokens, Progress progress) {
    progress.check();
    BackendRun run = BackendRun.of(backend, tokens);
    String name = backend == SdpaBackend.EXACT ? EXACT : "dense attention";
    progress.done(new Progress.Step(name, backend.id(), 1, 1, run.millis()));
    Picture picture = tokens.picture(run.output());
    return new Served(backend.id(), run.arch(), picture, run.millis(), null, false);
  }
}
