package org.attn4j.server.diffusion;

import com.google.gson.GsonBuilder;
import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.stream.Stream;
import org.attn4j.SparsityOptions;

/**
 * Times for each step and picture, and how far the pictures of several ways of attention are from
 * exact attention's and from each other's, over several seeds. Not a test:
 *
 * <pre>SeedStudy MODEL cpu|gpu|pytorch SIDE[,SIDE...] STEPS SEEDS OUT [DEVICE]</pre>
 *
 * <p>Writes {@code OUT/server-WHO-SIDE.json}, which bench/server_results.py reads, and a sheet of
 * the first pictures, {@code .ppm}: a row for each way. Thresholds are tuned on seeds that aren't
 * measured.
 */
public final class SeedStudy {
  private static final float[] SIMILARITIES = {0.6f, 0.3f, 0f, -0.3f};
  private static final float[] MASSES = {0.97f, 0.9f, 0.8f};
  private static final int TUNING_SEED = 1000;
  private static final int TUNING_SEEDS = 2;
  private static final double BAR = 30; // dB that tuned thresholds must keep, at least
  private static final int WARM_UPS = 4; // TorchScript profiles and compiles
  private static final int SHEET = 6; // pictures of a row

  private final Model model;
  private final int side;
  private final int steps;
  private final JsonObject json = new JsonObject();
  private List<StudySeries> series = List.of();

  private SeedStudy(Model model, int side, int steps) {
    this.model = model;
    this.side = side;
    this.steps = steps;
  }

  /** Runs the study; see the class. */
  public static void main(String[] args) throws IOException {
    if (args.length < 6) {
      throw new IllegalArgumentException(
          "there are "
              + args.length
              + " arguments; MODEL cpu|gpu|pytorch SIDES STEPS SEEDS OUT [DEVICE] are accepted");
    }
    for (String side : args[2].split(",")) {
      Model model = Model.of(Path.of(args[0])); // TorchScript's graphs are bound to their shapes
      SeedStudy study = new SeedStudy(model, Integer.parseInt(side), Integer.parseInt(args[3]));
      study.json.addProperty("device", args.length > 6 ? args[6] : "unknown");
      study.json.addProperty("model", args[1]);
      StudyWay.Family family =
          switch (args[1]) {
            case "cpu" -> StudyWay.onCpu(model);
            case "gpu" -> StudyWay.onGpu(model);
            case "pytorch" -> StudyWay.onTorch(model);
            default ->
                throw new IllegalArgumentException(
                    "the model is " + args[1] + "; cpu, gpu and pytorch are accepted");
          };
      study.run(family, Integer.parseInt(args[4]));
      study.write(Path.of(args[5]), "server-" + args[1] + "-" + side);
    }
  }

  private void run(StudyWay.Family family, int seeds) {
    long start = System.nanoTime();
    Stream<StudyWay> ways = family.dense().stream();
    if (family.sparse() != null) {
      StudyWay usual = family.sparse().with("sparge", SparsityOptions.DEFAULTS);
      StudyWay tuned = family.sparse().with("sparge tuned", tuned(family));
      ways = Stream.concat(ways, Stream.of(usual, tuned));
    }
    series = ways.map(StudySeries::new).toList();
    series.forEach(one -> warm(one.way));
    for (int seed = 0; seed < seeds; seed++) {
      for (StudySeries one : series) { // in turns, so that all see the same machine
        one.paint(side, steps, seed, word(seed));
      }
    }
    json.addProperty("commit_of_model", model.facts().commit());
    json.addProperty("side", side);
    json.addProperty("tokens", side * side / 4);
    json.addProperty("steps", steps);
    json.addProperty("seeds", seeds);
    json.addProperty("sampler", "ddim, guidance 1");
    json.addProperty("processors", Runtime.getRuntime().availableProcessors());
    json.add("ways", StudySeries.toJsons(series));
    json.addProperty("seconds", StudySeries.rounded((System.nanoTime() - start) / 1e9));
  }

  private int word(int seed) {
    return 1 + seed % (model.facts().words().size() - 1);
  }

  private void warm(StudyWay way) {
    way.choose().run();
    float[] noise = Sampler.noise(side, 0);
    for (int i = 0; i < (way.painter().onGpu() ? WARM_UPS : 1); i++) {
      way.painter().velocity(noise, side, side, 1, new int[] {1, 0, 0, 0});
    }
  }

  private StudySeries tuning(StudyWay way) {
    StudySeries pictures = new StudySeries(way);
    for (int i = 0; i < TUNING_SEEDS; i++) {
      pictures.paint(side, steps, TUNING_SEED + i, word(TUNING_SEED + i));
    }
    return pictures;
  }

  /**
   * The thresholds that paint fastest among those that keep {@link #BAR} on the tuning seeds. Where
   * some don't, those that leave out more aren't tried.
   */
  private SparsityOptions tuned(StudyWay.Family family) {
    warm(family.dense().get(0));
    StudySeries exact = tuning(family.dense().get(0));
    SparsityOptions best = SparsityOptions.DEFAULTS;
    double time = Double.MAX_VALUE;
    JsonArray tried = new JsonArray();
    int masses = MASSES.length; // that may keep the bar
    for (float similarity : SIMILARITIES) {
      for (int i = 0; i < masses; i++) {
        SparsityOptions options =
            SparsityOptions.DEFAULTS.withSimthreshd1(similarity).withCdfthreshd(MASSES[i]);
        StudySeries sparse = tuning(family.sparse().with("tuning", options));
        double kept = StudySeries.least(sparse.psnr(exact));
        JsonObject one = thresholds(options);
        one.addProperty("least_psnr", StudySeries.rounded(kept));
        one.addProperty("ms_per_step", StudySeries.rounded(sparse.perStep()));
        tried.add(one);
        if (kept < BAR) {
          masses = i;
        } else if (sparse.perStep() < time) {
          time = sparse.perStep();
          best = options;
        }
      }
    }
    json.addProperty("bar_db", BAR);
    json.addProperty("bar_kept", time < Double.MAX_VALUE);
    json.add("tuned", thresholds(best));
    json.add("tried", tried);
    return best;
  }

  private static JsonObject thresholds(SparsityOptions options) {
    JsonObject json = new JsonObject();
    json.addProperty("simthreshd1", StudySeries.rounded(options.simthreshd1()));
    json.addProperty("cdfthreshd", StudySeries.rounded(options.cdfthreshd()));
    return json;
  }

  private void write(Path folder, String name) throws IOException {
    Files.createDirectories(folder);
    String text = new GsonBuilder().setPrettyPrinting().create().toJson(json);
    Files.writeString(folder.resolve(name + ".json"), text + "\n");
    Files.write(folder.resolve(name + ".ppm"), StudySeries.sheet(series, side, SHEET));
    for (StudySeries one : series) {
      double[] psnr = one.psnr(series.get(0));
      System.out.printf(
          Locale.ROOT,
          "%s, %-15s %9.2f ms a step, PSNR to %s: mean %.2f, least %.2f%n",
          name,
          one.way.name(),
          one.perStep(),
          series.get(0).way.name(),
          StudySeries.mean(psnr),
          StudySeries.least(psnr));
    }
  }
}
