package org.attn4j.server.diffusion;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;

/** What one way painted, a picture for each seed, and the time of each step. */
final class StudySeries {
  private static final double SAME = 99; // dB of two pictures that are equal

  final StudyWay way;
  private final List<float[]> pictures = new ArrayList<>();
  private final List<Double> millis = new ArrayList<>();
  private String calls = "";

  StudySeries(StudyWay way) {
    this.way = way;
  }

  /** Paints one more; {@code word} is a token. */
  void paint(int side, int steps, int seed, int word) {
    way.choose().run();
    int[] words = {word, 0, 0, 0};
    pictures.add(
        Sampler.DDIM.sample(
            way.painter(),
            Sampler.noise(side, seed),
            side,
            words,
            steps,
            1,
            (number, ms) -> millis.add(ms)));
    calls = way.calls().get();
  }

  /** Milliseconds; the median, so that a pause of the machine doesn't count. */
  double perStep() {
    double[] sorted = millis.stream().mapToDouble(Double::doubleValue).sorted().toArray();
    return sorted[sorted.length / 2];
  }

  private double perImage() {
    return millis.stream().mapToDouble(Double::doubleValue).sum() / pictures.size();
  }

  /** dB, for each seed. */
  double[] psnr(StudySeries other) {
    return IntStream.range(0, pictures.size())
        .mapToDouble(i -> psnr(pictures.get(i), other.pictures.get(i)))
        .toArray();
  }

  /** Of pictures from -1 to 1. */
  static double psnr(float[] x, float[] y) {
    double sum = 0;
    for (int i = 0; i < x.length; i++) {
      double difference = (x[i] - y[i]) / 2;
      sum += difference * difference;
    }
    return sum == 0 ? SAME : -10 * Math.log10(sum / x.length);
  }

  static double mean(double[] values) {
    return Arrays.stream(values).average().orElseThrow();
  }

  static double least(double[] values) {
    return Arrays.stream(values).min().orElseThrow();
  }

  static double rounded(double value) {
    return Math.round(value * 1000) / 1000.0;
  }

  /** With the distance from every way. */
  private JsonObject toJson(List<StudySeries> all) {
    JsonObject json = new JsonObject();
    json.addProperty("way", way.name());
    json.addProperty("backend", way.painter().backend());
    json.addProperty("attention_calls_of_a_picture", calls);
    json.addProperty("ms_per_step", rounded(perStep()));
    json.addProperty("ms_per_image", rounded(perImage()));
    if (way.painter() instanceof HostPainter) { // PyTorch isn't told
      json.addProperty("left_out", rounded(way.painter().leftOut()));
    }
    JsonObject psnr = new JsonObject();
    for (StudySeries other : all) {
      JsonObject pair = new JsonObject();
      pair.addProperty("mean", rounded(mean(psnr(other))));
      pair.addProperty("least", rounded(least(psnr(other))));
      psnr.add(other.way.name(), pair);
    }
    json.add("psnr", psnr);
    return json;
  }

  static JsonArray toJsons(List<StudySeries> all) {
    JsonArray json = new JsonArray();
    all.forEach(series -> json.add(series.toJson(all)));
    return json;
  }

  /** A row for each way, a column for each of the first seeds: a binary PPM. */
  static byte[] sheet(List<StudySeries> all, int side, int most) {
    int columns = Math.min(most, all.get(0).pictures.size());
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    String header = "P6\n" + columns * side + " " + all.size() * side + "\n255\n";
    out.writeBytes(header.getBytes(StandardCharsets.US_ASCII));
    for (int y = 0; y < all.size() * side; y++) {
      for (int x = 0; x < columns * side; x++) {
        float[] picture = all.get(y / side).pictures.get(x / side);
        for (int channel = 0; channel < 3; channel++) {
          float value = picture[(channel * side + y % side) * side + x % side];
          out.write(Math.round(127.5f * (Math.max(-1, Math.min(1, value)) + 1)));
        }
      }
    }
    return out.toByteArray();
  }
}
