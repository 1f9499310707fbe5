package org.attn4j.samples;

import com.google.gson.FormattingStyle;
import com.google.gson.stream.JsonWriter;
import java.io.IOException;
import java.io.StringWriter;
import java.math.BigDecimal;
import java.math.RoundingMode;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.attn4j.SparsityOptions;

/** What the demo found out, as lines to read and as JSON. */
final class ResultTable {
  /** The backend of rows that {@link SparseReference} made. */
  static final String REFERENCE = "reference";

  private static final String NOTHING = "-";

  /**
   * One line of the table.
   *
   * @param backend its name, or {@link #REFERENCE}
   * @param order of the tokens
   * @param arch the native library that ran, or the kind of CPU
   * @param millis time of one call; NaN if it says nothing about a backend
   * @param sparse what SpargeAttn did, or null for a dense backend
   * @param psnr of the denoised picture, in dB
   * @param error L1, relative, against exact non-local means
   */
  record Row(
      String backend,
      PictureOrder order,
      String arch,
      double millis,
      SpargeRun sparse,
      double psnr,
      double error) {

    /** Tera-operations per second, counted as for dense attention: 4 * tokens^2 * head_dim. */
    double tops(int tokens) {
      return 4.0 * tokens * tokens * PatchTokens.HEAD_DIM / (millis * 1e9);
    }
  }

  private final DemoOptions options;
  private final Picture clean;
  private final double noisyPsnr;
  private final List<Row> rows = new ArrayList<>();

  ResultTable(DemoOptions options, Picture clean, Picture noisy) {
    this.options = options;
    this.clean = clean;
    noisyPsnr = noisy.psnr(clean);
  }

  void add(Row row) {
    rows.add(row);
  }

  List<Row> rows() {
    return List.copyOf(rows);
  }

  /** A heading, and a line for each row. */
  List<String> lines() {
    List<String> lines = new ArrayList<>();
    lines.add(
        "backend    order    thresholds  arch           ms      TOPS  left out  PSNR dB  error");
    for (Row row : rows) {
      SpargeRun sparse = row.sparse();
      lines.add(
          format(
              "%-9s  %-7s  %-10s  %-6s  %9s  %8s  %8s  %7.2f  %.6f",
              row.backend(),
              row.order().label(),
              sparse == null ? NOTHING : sparse.thresholds().label(),
              row.arch(),
              measured("%.2f", row.millis()),
              measured("%.3f", row.tops(clean.pixels())),
              sparse == null ? NOTHING : format("%.1f %%", 100 * sparse.map().sparsity()),
              row.psnr(),
              row.error()));
    }
    return lines;
  }

  /** What the names in the table mean, as far as they occur. */
  List<String> notes() {
    List<String> notes = new ArrayList<>();
    if (rows.stream().anyMatch(row -> row.backend().equals(REFERENCE))) {
      notes.add(
          "reference: the blocks that SpargeAttn would choose, and exact attention over them, in Java;"
              + " not the kernel, so it has no time");
    }
    for (Row row : rows) {
      if (row.sparse() != null && !Double.isNaN(row.sparse().agreement())) {
        SparsityOptions thresholds = row.sparse().thresholds().options();
        notes.add(
            format(
                "%s, %s: simthreshd1 %.4f, cdfthreshd %.4f, pvthreshd %.2f;"
                    + " the reference chooses alike for %.3f %% of the blocks",
                row.order().label(),
                row.sparse().thresholds().label(),
                thresholds.simthreshd1(),
                thresholds.cdfthreshd(),
                thresholds.pvthreshd(),
                100 * row.sparse().agreement()));
      }
    }
    return notes;
  }

  private static String measured(String format, double value) {
    return Double.isNaN(value) ? NOTHING : format(format, value);
  }

  /** All of it, one row per line. */
  String toJson() {
    StringWriter text = new StringWriter();
    try (JsonWriter json = new JsonWriter(text)) {
      json.setFormattingStyle(FormattingStyle.PRETTY);
      json.beginObject();
      json.name("picture").value(options.pictureName());
      json.name("pixels").value(clean.pixels());
      json.name("sigma").value(options.sigma());
      json.name("noisy_psnr").value(rounded(noisyPsnr, 3));
      json.name("head_dim").value(PatchTokens.HEAD_DIM);
      json.name("rows").beginArray();
      for (Row row : rows) {
        json.beginObject();
        json.setFormattingStyle(FormattingStyle.COMPACT.withSpaceAfterSeparators(true));
        write(json, row);
        json.endObject();
        json.setFormattingStyle(FormattingStyle.PRETTY);
      }
      json.endArray().endObject();
    } catch (IOException e) {
      throw new AssertionError("a StringWriter takes everything", e);
    }
    return text.append('\n').toString();
  }

  private void write(JsonWriter json, Row row) throws IOException {
    json.name("backend").value(row.backend());
    json.name("order").value(row.order().label());
    json.name("arch").value(row.arch());
    if (!Double.isNaN(row.millis())) {
      json.name("ms").value(rounded(row.millis(), 4));
      json.name("tops").value(rounded(row.tops(clean.pixels()), 4));
    }
    if (row.sparse() != null) {
      write(json, row.sparse());
    }
    json.name("psnr").value(rounded(row.psnr(), 3));
    json.name("l1").value(rounded(row.error(), 6));
  }

  private static void write(JsonWriter json, SpargeRun sparse) throws IOException {
    SparsityOptions thresholds = sparse.thresholds().options();
    json.name("thresholds").value(sparse.thresholds().label());
    json.name("simthreshd1").value(thresholds.simthreshd1());
    json.name("cdfthreshd").value(thresholds.cdfthreshd());
    if (!Double.isNaN(sparse.agreement())) { // the reference skips no P V
      json.name("pvthreshd").value(thresholds.pvthreshd());
      json.name("like_reference").value(rounded(sparse.agreement(), 6));
    }
    json.name("query_block").value(sparse.map().grid().queryBlock());
    json.name("key_block").value(sparse.map().grid().keyBlock());
    json.name("sparsity").value(rounded(sparse.map().sparsity(), 6));
  }

  /** With that many decimals, the last zeros too; null (no value) if it is no finite number. */
  private static BigDecimal rounded(double value, int decimals) {
    return Double.isFinite(value)
        ? BigDecimal.valueOf(value).setScale(decimals, RoundingMode.HALF_UP)
        : null;
  }

  private static String format(String format, Object... arguments) {
    return String.format(Locale.ROOT, format, arguments);
  }
}
