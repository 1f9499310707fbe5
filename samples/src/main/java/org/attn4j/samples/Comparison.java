package org.attn4j.samples;

import java.io.IOException;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.List;
import org.attn4j.SdpaBackend;
import org.attn4j.samples.ResultTable.Row;
import org.attn4j.samples.Sheet.Key;
import org.attn4j.samples.Sheet.Panel;
import org.attn4j.samples.SpargeRun.Thresholds;

/** Denoises one picture by one backend after another, and writes what each made of it. */
final class Comparison {
  private static final double DIFFERENCE_REACH = 0.25; // of brightness: full colour
  private static final int PANEL_SIDE = 256; // pixels, of the pictures side by side
  private static final int MAP_SIDE = 512; // pixels
  private static final int SHEET_MAP_SIDE = 256; // pixels

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
    writeResult(backend.id(), denoised, "by " + backend.id(), psnr);
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
    String how = "by %s, %.0f %% left out".formatted(backend, 100 * last.map().sparsity());
    writeResult(backend, last.denoised(), how, last.denoised().psnr(clean));
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

  private void writeResult(String backend, Picture denoised, String how, double psnr)
      throws IOException {
    Picture difference = ColourScale.difference(denoised, clean, DIFFERENCE_REACH);
    write(denoised, "denoised-" + backend);
    write(difference, "difference-" + backend);
    String heading =
        "A photograph denoised by attention: %d x %d pixels, every pixel a token"
            .formatted(clean.width(), clean.height());
    String explanation =
        "Each pixel becomes an average of all pixels, weighted by how much their surroundings look"
            + " alike.";
    List<Panel> panels =
        List.of(
            new Panel("clean", "", clean),
            new Panel(
                "with noise, sigma %s".formatted(options.sigma()),
                decibels(noisy.psnr(clean)),
                noisy),
            new Panel("denoised", decibels(psnr) + ", " + how, denoised),
            new Panel(
                "what is left of the error", "of brightness, which runs from 0 to 1", difference));
    int scale = Math.max(1, PANEL_SIDE / clean.width());
    new Sheet(heading, explanation, ColourScale.legend(DIFFERENCE_REACH), scale)
        .write(List.of(panels), options.out().resolve("overview-" + backend + ".png"));
  }

  private static String decibels(double psnr) {
    return String.format("PSNR %.1f dB", psnr);
  }

  /** Writes the table as JSON and, if SpargeAttn ran, its block maps. */
  void writeResults() throws IOException {
    Files.writeString(options.out().resolve("results.json"), table.toJson());
    List<List<Panel>> lines = new ArrayList<>(); // one for each kind of thresholds
    for (String label :
        sparseRuns.stream().map(run -> run.thresholds().label()).distinct().toList()) {
      List<Panel> maps = new ArrayList<>(); // one for each order
      for (SpargeRun run : sparseRuns) {
        if (run.thresholds().label().equals(label)) {
          write(
              run.map().picture(MAP_SIDE),
              "blockmap-" + run.order().label() + suffix(run.thresholds()));
          maps.add(panel(run));
        }
      }
      lines.add(maps);
    }
    if (!lines.isEmpty()) {
      List<Key> legend =
          List.of(new Key(BlockMap.COMPUTED, "computed"), new Key(BlockMap.LEFT_OUT, "left out"));
      new Sheet(
              "What SpargeAttn leaves out of the attention matrix",
              "Down: queries in blocks of %d. Across: keys in blocks of %d."
                  .formatted(
                      sparseRuns.get(0).map().grid().queryBlock(),
                      sparseRuns.get(0).map().grid().keyBlock()),
              legend,
              1)
          .write(lines, options.out().resolve("blockmaps.png"));
    }
  }

  private Panel panel(SpargeRun run) {
    String title = "%s order, %s".formatted(run.order().label(), run.thresholds().label());
    String note =
        "%.1f %% left out, %s"
            .formatted(100 * run.map().sparsity(), decibels(run.denoised().psnr(clean)));
    return new Panel(title, note, run.map().picture(SHEET_MAP_SIDE));
  }

  private static String suffix(Thresholds thresholds) {
    return thresholds.equals(Thresholds.DEFAULT) ? "" : "-" + thresholds.label();
  }

  private void write(Picture picture, String name) throws IOException {
    picture.writePng(options.out().resolve(name + ".png"));
  }
}
