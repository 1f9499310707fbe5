package org.attn4j.server.diffusion;

import java.io.IOException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Locale;
import org.attn4j.SparsityOptions;

/**
 * Time for each step, and how far pictures of several ways of attention are from exact attention's,
 * over several seeds. Not a test: run it with a trained model.
 *
 * <pre>SeedStudy MODEL SIDE STEPS SEEDS</pre>
 */
public final class SeedStudy {
  private SeedStudy() {}

  /** One way to compute attention. */
  private record Way(String name, Painter painter) {}

  /** Prints a line for each way: ms for a step, share left out, PSNR against the first way. */
  public static void main(String[] args) throws IOException {
    Model model = Model.of(Path.of(args[0]));
    int side = Integer.parseInt(args[1]);
    int steps = Integer.parseInt(args[2]);
    int seeds = Integer.parseInt(args[3]);
    float[][] exact = new float[seeds][];
    System.out.println(
        "way                        ms/step   s/picture  left out  PSNR: mean, least");
    for (Way way : ways(model)) {
      double[] psnr = new double[seeds];
      double[] millis = new double[1];
      for (int seed = 0; seed < seeds; seed++) {
        int word = 1 + seed % (model.facts().words().size() - 1);
        float[] x =
            Sampler.DDIM.sample(
                way.painter(),
                Sampler.noise(side, seed),
                side,
                new int[] {word, 0, 0, 0},
                steps,
                1,
                (number, ms) -> millis[0] += ms);
        if (exact[seed] == null) {
          exact[seed] = x;
        }
        psnr[seed] = psnr(x, exact[seed]);
      }
      double perStep = millis[0] / seeds / steps;
      System.out.printf(
          Locale.ROOT,
          "%-25s %9.1f %10.2f %7.1f %%  %8.2f %8.2f%n",
          way.name(),
          perStep,
          perStep * steps / 1000,
          100 * way.painter().leftOut(),
          Arrays.stream(psnr).average().orElseThrow(),
          Arrays.stream(psnr).min().orElseThrow());
    }
  }

  private static Way[] ways(Model model) {
    SparsityOptions usual = SparsityOptions.DEFAULTS;
    Way[] ways = {
      new Way("cpu, exact", model.onCpu(null)),
      new Way("cpu, sparse, default", model.onCpu(usual)),
      new Way("cpu, sparse, sim 0.3", model.onCpu(usual.withSimthreshd1(0.3f))),
      new Way("cpu, sparse, sim -1", model.onCpu(usual.withSimthreshd1(-1))),
      null
    };
    try {
      Painter torch = model.onTorch();
      ways[4] = new Way(torch.backend(), torch);
      return ways;
    } catch (UnsupportedOperationException e) {
      System.out.println("pytorch stays out: " + e.getMessage());
      return Arrays.copyOf(ways, 4);
    }
  }

  /** Of pictures from -1 to 1, in dB; 99 for the same picture. */
  private static double psnr(float[] x, float[] exact) {
    double sum = 0;
    for (int i = 0; i < x.length; i++) {
      double difference = (x[i] - exact[i]) / 2;
      sum += difference * difference;
    }
    return sum == 0 ? 99 : -10 * Math.log10(sum / x.length);
  }
}
