package org.attn4j.server;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import java.math.BigDecimal;
import java.math.RoundingMode;
import java.util.Base64;
import java.util.Locale;
import org.attn4j.SparsityOptions;
import org.attn4j.samples.BlockMap;
import org.attn4j.samples.ColourScale;
import org.attn4j.samples.Picture;

/**
 * What became of a picture.
 *
 * @param request what was asked for
 * @param clean the square that was cut out of the upload
 * @param noisy what attention worked on; the same as {@code clean} if no noise was added
 * @param exact exact attention's result
 * @param result the result that was asked for; the same as {@code exact} if that was
 */
record DenoiseAnswer(
    DenoiseRequest request, Picture clean, Picture noisy, Served exact, Served result) {

  /** A line for the log. */
  String line() {
    return String.format(
        Locale.ROOT,
        "denoise %dx%d: %s (%s), %.1f ms, %.1f %% left out, error %.5f",
        clean.width(),
        clean.height(),
        result.backend(),
        result.kernel(),
        result.millis(),
        100 * leftOut(),
        error());
  }

  /** The share of blocks that were left out. */
  double leftOut() {
    return result.map() == null ? 0 : result.map().sparsity();
  }

  /** The mean distance from the exact result, divided by the mean of the exact result. */
  double error() {
    return result.picture().relativeL1(exact.picture());
  }

  JsonObject toJson() {
    JsonObject json = new JsonObject();
    json.addProperty("width", clean.width());
    json.addProperty("height", clean.height());
    json.addProperty("tokens", clean.pixels());
    json.addProperty("order", request.order().label());
    json.add("served", served());
    json.add("exact", call(exact));
    json.add("quality", quality());
    json.add("images", images());
    if (result.map() != null) {
      json.add("block_map", blocks(result.map()));
    }
    return json;
  }

  private static JsonObject call(Served served) {
    JsonObject json = new JsonObject();
    json.addProperty("backend", served.backend());
    json.addProperty("kernel", served.kernel());
    json.addProperty("ms", rounded(served.millis(), 3));
    json.addProperty("cached", served.cached());
    return json;
  }

  private JsonObject served() {
    JsonObject json = call(result);
    json.addProperty("left_out", rounded(leftOut(), 6));
    SparsityOptions sparsity = request.sparsity();
    if (sparsity != null) {
      JsonObject thresholds = new JsonObject();
      thresholds.addProperty("simthreshd1", sparsity.simthreshd1());
      thresholds.addProperty("cdfthreshd", sparsity.cdfthreshd());
      json.add("thresholds", thresholds);
    }
    json.add("why", BackendsReport.backends());
    return json;
  }

  private JsonObject quality() {
    JsonObject json = new JsonObject();
    if (request.addNoise()) { // else the clean picture isn't known
      json.addProperty("psnr_noisy", rounded(noisy.psnr(clean), 3));
      json.addProperty("psnr_exact", rounded(exact.picture().psnr(clean), 3));
      json.addProperty("psnr", rounded(result.picture().psnr(clean), 3));
    }
    json.addProperty("error", rounded(error(), 6));
    return json;
  }

  private JsonObject images() {
    double scale = ColourScale.reach(result.picture(), exact.picture());
    Picture difference = ColourScale.difference(result.picture(), exact.picture(), scale);
    JsonObject json = new JsonObject();
    json.addProperty("noisy", base64(noisy));
    if (request.addNoise()) {
      json.addProperty("clean", base64(clean));
    }
    json.addProperty("result", base64(result.picture()));
    json.addProperty("exact", base64(exact.picture()));
    json.addProperty("difference", base64(difference));
    json.addProperty("difference_reach", rounded(scale, 6));
    return json;
  }

  /** The map, a string of hexadecimal digits for each row of blocks: four blocks a digit. */
  private static JsonObject blocks(BlockMap map) {
    JsonObject json = new JsonObject();
    json.addProperty("query_block", map.grid().queryBlock());
    json.addProperty("key_block", map.grid().keyBlock());
    json.addProperty("columns", map.columns());
    JsonArray rows = new JsonArray();
    for (int row = 0; row < map.rows(); row++) {
      StringBuilder digits = new StringBuilder();
      for (int column = 0; column < map.columns(); column += 4) {
        int digit = 0;
        for (int i = 0; i < 4; i++) {
          boolean computed = column + i < map.columns() && map.computed(row, column + i);
          digit = digit << 1 | (computed ? 1 : 0);
        }
        digits.append(Character.forDigit(digit, 16));
      }
      rows.add(digits.toString());
    }
    json.add("rows", rows);
    return json;
  }

  private static String base64(Picture picture) {
    return Base64.getEncoder().encodeToString(picture.png());
  }

  static BigDecimal rounded(double value, int decimals) {
    return Double.isFinite(value)
        ? BigDecimal.valueOf(value).setScale(decimals, RoundingMode.HALF_UP)
        : null;
  }
}
