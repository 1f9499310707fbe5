package org.attn4j.samples;

import java.io.IOException;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.List;
import org.attn4j.SdpaBackend;
import org.attn4j.samples.ResultTable.Row;
import org.attn4j.samples.SpargeRun.Thresholds;

/** Denoises one picture by one backend after another, and writes what each made of it. */
final class Comparison {
  private static final double DIFFERENCE_GAIN = 4;
  private static final int GAP = 4; // pixels between the parts of a picture
  private static final int MAP_SIDE = 512; // pixels

  private final DemoOptions options;
  private final Picture clean;
  private final Picture noisy;
  private final PatchTokens raster;
  private final ExactSample exact;
  private final ResultTable table;
  private final List<SpargeRun> sparseRuns = new ArrayList<>();

  Comparison(DemoOptions options, Picture clean, Picture noisy) {
    double h = PatchTokens.filterStrength(options.sigma());
    this.options = options;
    this.clean = clean;
    this.noisy = noisy;
    raster = new PatchTokens(noisy, h);
    exact = new ExactSample(noisy, h);
    table = new ResultTable(options, clean, noisy);
  }

  /**
   * Runs {@code backend}, SpargeAttn in every order, or throws
   * org.attn4j.UnsupportedAttentionException with its reason.
   */
  void run(SdpaBackend backend) throws IOException {
    if (backend == SdpaBackend.SPARGE) {
      for (PictureOrder order : PictureOrder.values()) {
        addSparse(backend.id(), SpargeRun.onGpu(raster, order));
      }
      return;
    }
    PatchTokens tokens = raster.in(options.order());
    BackendRun run = BackendRun.of(backend, tokens);
    Picture denoised = tokens.picture(run.output());
    double psnr = denoised.psnr(clean);
    double error = exact.relativeL1(denoised);
    table.add(new Row(backend.id(), options.order(), run.arch(), run.millis(), null, psnr, error));
    writeResult(backend.id(), denoised);
  }

  /** Without SpargeAttn's kernel: what it would do. */
  void runReference() throws IOException {
    List<Thresholds> thresholds = List.of(Thresholds.DEFAULT, Thresholds.TRUSTING);
    addSparse(ResultTable.REFERENCE, SparseReference.runs(raster, thresholds));
  }

  private void addSparse(String backend, List<SpargeRun> runs) throws IOException {
    sparseRuns.addAll(runs);
    for (SpargeRun run : runs) {
      double psnr = run.denoised().psnr(clean);
      double error = exact.relativeL1(run.denoised());
      table.add(new Row(backend, run.order(), run.arch(), run.millis(), run, psnr, error));
    }
    SpargeRun last = runs.get(runs.size() - 1); // along the Hilbert curve: it leaves out most
    writeResult(backend, last.denoised());
  }

  /** Whether SpargeAttn ran. */
  boolean hasBlockMaps() {
    return !sparseRuns.isEmpty();
  }

  ResultTable table() {
    return table;
  }

  /** How many pixels the exact result is known at. */
  int exactPixels() {
    return exact.count();
  }

  /** Writes the clean picture and the noisy one. */
  void writeInputs() throws IOException {
    write(clean, "clean");
    write(noisy, "noisy");
  }

  private void writeResult(String backend, Picture denoised) throws IOException {
    Picture difference = denoised.differenceFrom(clean, DIFFERENCE_GAIN);
    write(denoised, "denoised-" + backend);
    write(difference, "difference-" + backend);
    write(Picture.beside(GAP, clean, noisy, denoised, difference), "overview-" + backend);
  }

  /** Writes the table as JSON and, if SpargeAttn ran, its block maps. */
  void writeResults() throws IOException {
    Files.writeString(options.out().resolve("results.json"), table.toJson());
    List<Picture> lines = new ArrayList<>(); // one for each kind of thresholds
    for (String label :
        sparseRuns.stream().map(run -> run.thresholds().label()).distinct().toList()) {
      List<Picture> maps = new ArrayList<>(); // one for each order
      for (SpargeRun run : sparseRuns) {
        if (run.thresholds().label().equals(label)) {
          Picture map = run.map().picture(MAP_SIDE);
          write(map, "blockmap-" + run.order().label() + suffix(run.thresholds()));
          maps.add(map);
        }
      }
      lines.add(Picture.beside(GAP, maps.toArray(Picture[]::new)));
    }
    if (!lines.isEmpty()) {
      write(Picture.below(GAP, lines.toArray(Picture[]::new)), "blockmaps");
    }
  }

  private static String suffix(Thresholds thresholds) {
    return thresholds.equals(Thresholds.DEFAULT) ? "" : "-" + thresholds.label();
  }

  private void write(Picture picture, String name) throws IOException {
    picture.writePng(options.out().resolve(name + ".png"));
  }
}
