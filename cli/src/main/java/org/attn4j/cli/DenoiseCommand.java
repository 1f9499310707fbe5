package org.attn4j.cli;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import org.attn4j.cli.Attn4jCommand.FailedException;
import org.attn4j.samples.DenoiseDemo;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/** The demo: a photograph denoised by attention. */
@Command(
    name = "denoise",
    description = "Denoises a picture by attention with every backend that is available here.",
    mixinStandardHelpOptions = true)
final class DenoiseCommand implements Callable<Integer> {
  private static final String SAMPLES = "org.attn4j.samples.DenoiseDemo";

  @Option(
      names = "--size",
      paramLabel = "N",
      description = "Pixels on a side (default: 256 with a GPU, 128 without).")
  private String size;

  @Option(
      names = "--sigma",
      paramLabel = "S",
      description = "Noise, as a part of the brightness range (default: 0.1).")
  private String sigma;

  @Option(
      names = "--out",
      paramLabel = "DIR",
      defaultValue = "attn4j-denoise",
      description = "Where the pictures go (default: ${DEFAULT-VALUE}).")
  private String out;

  @Option(
      names = "--backend",
      paramLabel = "LIST",
      description = "Names separated by commas, such as sage,exact (default: all).")
  private String backend;

  @Option(
      names = "--image",
      paramLabel = "FILE",
      description = "A PNG or JPEG of your own (default: the cat that ships with the demo).")
  private String image;

  @Option(
      names = "--order",
      paramLabel = "ORDER",
      description = "Of the tokens of dense backends: raster, tiles or hilbert (default: tiles).")
  private String order;

  @Override
  public Integer call() {
    if (!available()) {
      throw new FailedException(
          "the demo is not on the class path: it is in the runnable JAR of attn4j-cli (classifier"
              + " all), or add org.attn4j:attn4j-samples");
    }
    List<String> args = new ArrayList<>();
    add(args, "--size", size);
    add(args, "--sigma", sigma);
    add(args, "--out", out);
    add(args, "--backend", backend);
    add(args, "--image", image);
    add(args, "--order", order);
    return DenoiseDemo.execute(args.toArray(String[]::new));
  }

  private static boolean available() {
    try {
      Class.forName(SAMPLES, false, DenoiseCommand.class.getClassLoader());
      return true;
    } catch (ClassNotFoundException e) {
      return false;
    }
  }

  private static void add(List<String> args, String name, String value) {
    if (value != null) {
      args.add(name);
      args.add(value);
    }
  }
}
