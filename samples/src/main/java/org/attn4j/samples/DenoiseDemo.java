package org.attn4j.samples;

import java.io.IOException;
import java.io.InputStream;
import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.attn4j.Backend;
import org.attn4j.UnsupportedAttentionException;

/**
 * Takes a photograph, adds noise, and denoises it by attention with every backend that is
 * available: non-local means is softmax attention over all pixels. Prints time, speed, picture
 * quality and the error against exact non-local means.
 */
public final class DenoiseDemo {
  private static final String PHOTOGRAPH = "chelsea.png";
  private static final int GPU_SIZE = 256;
  private static final int CPU_SIZE = 128;
  private static final long NOISE_SEED = 1;
  private static final double DIFFERENCE_GAIN = 4;
  private static final int GAP = 4; // pixels between the parts of an overview

  private final DemoOptions options;
  private final PrintStream log;

  DenoiseDemo(DemoOptions options, PrintStream log) {
    this.options = options;
    this.log = log;
  }

  /**
   * See {@code --help}. Exit status 2: a wrong option. 1: the picture or a backend that was asked
   * for can't be had.
   */
  public static void main(String... args) {
    if (List.of(args).contains("--help")) {
      System.out.println(DemoOptions.USAGE);
      return;
    }
    try {
      new DenoiseDemo(DemoOptions.parse(args), System.out).run();
    } catch (IllegalArgumentException e) {
      System.err.println(e.getMessage() + System.lineSeparator() + DemoOptions.USAGE);
      System.exit(2);
    } catch (IOException | BackendChoice.NotAvailableException e) {
      System.err.println(e.getMessage());
      System.exit(1);
    }
  }

  /**
   * One line of the table.
   *
   * @param run what the backend did
   * @param psnr of its picture, in dB
   * @param error L1, relative, against exact non-local means
   */
  record Row(BackendRun run, double psnr, double error) {}

  /** Denoises with every chosen backend; one row each. */
  List<Row> run() throws IOException {
    BackendChoice choice = BackendChoice.of(options.backends());
    Picture clean = photograph().centreSquare(size(choice));
    Picture noisy = clean.withNoise(options.sigma(), NOISE_SEED);
    double h = PatchTokens.filterStrength(options.sigma());
    PatchTokens tokens = new PatchTokens(noisy, h, options.order());
    ExactSample exact = new ExactSample(noisy, h);
    Files.createDirectories(options.out());
    write(clean, "clean.png");
    write(noisy, "noisy.png");

    choice.leftOut().forEach((name, reason) -> print("%s stays out: %s", name, reason));
    print(
        "%d x %d pixels = %d tokens, order: %s; noise of sigma %.2f: PSNR %.2f dB",
        clean.width(),
        clean.height(),
        tokens.count(),
        options.order().label(),
        options.sigma(),
        noisy.psnr(clean));
    List<Row> rows = new ArrayList<>();
    for (Backend backend : choice.chosen()) {
      BackendRun run;
      try {
        run = BackendRun.of(backend, tokens);
      } catch (UnsupportedAttentionException e) {
        refused(backend, e);
        continue;
      }
      Picture denoised = tokens.picture(run.output(), clean.width(), clean.height());
      Row row = new Row(run, denoised.psnr(clean), exact.relativeL1(denoised));
      rows.add(row);
      writeResult(backend.id(), clean, noisy, denoised);
    }
    print(
        "%nbackend  arch     tokens  head_dim          ms      TOPS  PSNR dB  error against exact");
    rows.forEach(row -> print(row, tokens.count()));
    print(
        "%nexact: non-local means in double precision, without attention, at %d of the pixels; relative L1",
        exact.count());
    print("pictures: %s", options.out().toAbsolutePath().normalize());
    return rows;
  }

  private void refused(Backend backend, UnsupportedAttentionException reason) {
    if (!options.backends().isEmpty()) {
      throw new BackendChoice.NotAvailableException(reason.getMessage());
    }
    print("%-7s  %s", backend.id(), reason.getMessage());
  }

  private int size(BackendChoice choice) {
    if (options.size() > 0) {
      return options.size();
    }
    return choice.chosen().contains(Backend.CPU) ? CPU_SIZE : GPU_SIZE;
  }

  private Picture photograph() throws IOException {
    if (options.image() != null) {
      if (!Files.isReadable(options.image())) {
        throw new IOException(options.image() + " can't be read");
      }
      return Picture.read(options.image());
    }
    try (InputStream in = DenoiseDemo.class.getResourceAsStream(PHOTOGRAPH)) {
      return Picture.read(in, PHOTOGRAPH);
    }
  }

  private void writeResult(String backend, Picture clean, Picture noisy, Picture denoised)
      throws IOException {
    Picture difference = denoised.differenceFrom(clean, DIFFERENCE_GAIN);
    write(denoised, "denoised-" + backend + ".png");
    write(difference, "difference-" + backend + ".png");
    write(Picture.beside(GAP, clean, noisy, denoised, difference), "overview-" + backend + ".png");
  }

  private void write(Picture picture, String name) throws IOException {
    picture.writePng(options.out().resolve(Path.of(name)));
  }

  private void print(Row row, int tokens) {
    print(
        "%-7s  %-6s  %7d  %8d  %10.2f  %8.3f  %7.2f  %.6f",
        row.run().backend().id(),
        row.run().arch(),
        tokens,
        PatchTokens.HEAD_DIM,
        row.run().millis(),
        row.run().tops(tokens),
        row.psnr(),
        row.error());
  }

  private void print(String format, Object... arguments) {
    log.println(String.format(Locale.ROOT, format, arguments));
  }
}
