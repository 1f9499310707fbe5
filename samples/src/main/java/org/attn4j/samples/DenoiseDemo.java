package org.attn4j.samples;

import java.io.IOException;
import java.io.InputStream;
import java.io.PrintStream;
import java.nio.file.Files;
import java.util.List;
import java.util.Locale;
import org.attn4j.SdpaBackend;
import org.attn4j.UnsupportedAttentionException;
import org.attn4j.samples.ResultTable.Row;

/**
 * Takes a photograph, adds noise, and denoises it by attention with every backend that is
 * available: non-local means is softmax attention over all pixels. Prints time, speed, the share of
 * blocks that SpargeAttn leaves out, picture quality and the error against exact non-local means,
 * and draws the block maps.
 */
public final class DenoiseDemo {
  private static final int GPU_SIZE = 256;
  private static final int CPU_SIZE = 128;
  private static final long NOISE_SEED = 1;

  private final DemoOptions options;
  private final PrintStream log;

  DenoiseDemo(DemoOptions options, PrintStream log) {
    this.options = options;
    this.log = log;
  }

  /** See {@code --help}; ends the JVM with what {@link #execute} returns, unless it is 0. */
  public static void main(String... args) {
    int status = execute(args);
    if (status != 0) {
      System.exit(status);
    }
  }

  /**
   * Does what the command line asks for.
   *
   * @return the exit status. 2: a wrong option. 1: the picture or a backend that was asked for
   *     can't be had
   */
  public static int execute(String... args) {
    if (List.of(args).contains("--help")) {
      System.out.println(DemoOptions.USAGE);
      return 0;
    }
    try {
      new DenoiseDemo(DemoOptions.parse(args), System.out).run();
      return 0;
    } catch (IllegalArgumentException e) {
      System.err.println(e.getMessage() + System.lineSeparator() + DemoOptions.USAGE);
      return 2;
    } catch (IOException | BackendChoice.NotAvailableException e) {
      System.err.println(e.getMessage());
      return 1;
    }
  }

  /** Denoises with every chosen backend; one row each, and more for SpargeAttn. */
  List<Row> run() throws IOException {
    BackendChoice choice = BackendChoice.of(options.backends());
    Picture clean = photograph().centreSquare(size(choice));
    Picture noisy = clean.withNoise(options.sigma(), NOISE_SEED);
    choice.whyLeftOut().forEach(log::println);
    print(
        "%d x %d pixels = %d tokens of %d channels; noise of sigma %.2f: PSNR %.2f dB",
        clean.width(),
        clean.height(),
        clean.pixels(),
        PatchTokens.HEAD_DIM,
        options.sigma(),
        noisy.psnr(clean));

    Files.createDirectories(options.out());
    Comparison comparison = new Comparison(options, clean, noisy);
    comparison.writeInputs();
    for (SdpaBackend backend : choice.chosen()) {
      try {
        comparison.run(backend);
      } catch (UnsupportedAttentionException e) {
        refused(backend, e);
      }
    }
    if (choice.chosen().contains(SdpaBackend.CPU) && !comparison.hasBlockMaps()) {
      comparison.runReference();
    }
    comparison.writeResults();
    print("%n%s%n", String.join(System.lineSeparator(), comparison.table().lines()));
    comparison.table().notes().forEach(log::println);
    print(
        "error: L1, relative, at %d pixels against non-local means in double precision, without attention",
        comparison.exactPixels());
    print("pictures: %s", options.out().toAbsolutePath().normalize());
    return comparison.table().rows();
  }

  private void refused(SdpaBackend backend, UnsupportedAttentionException reason) {
    if (!options.backends().isEmpty()) {
      throw new BackendChoice.NotAvailableException(reason.getMessage());
    }
    print("%-7s  %s", backend.id(), reason.getMessage());
  }

  private int size(BackendChoice choice) {
    if (options.size() > 0) {
      return options.size();
    }
    return choice.chosen().contains(SdpaBackend.CPU) ? CPU_SIZE : GPU_SIZE;
  }

  private Picture photograph() throws IOException {
    if (options.image() != null) {
      if (!Files.isReadable(options.image())) {
        throw new IOException(options.image() + " can't be read");
      }
      return Picture.read(options.image());
    }
    try (InputStream in = DenoiseDemo.class.getResourceAsStream(DemoOptions.PHOTOGRAPH)) {
      return Picture.read(in, DemoOptions.PHOTOGRAPH);
    }
  }

  private void print(String format, Object... arguments) {
    log.println(String.format(Locale.ROOT, format, arguments));
  }
}
