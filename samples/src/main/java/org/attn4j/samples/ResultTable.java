package org.attn4j.samples;

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
    List<String> objects = new ArrayList<>();
    for (Row row : rows) {
      objects.add("    {" + String.join(", ", properties(row)) + "}");
    }
    return format(
            "{%n  \"picture\": \"%s\",%n  \"pixels\": %d,%n  \"sigma\": %s,%n  \"noisy_psnr\": %.3f,%n",
            escaped(options.pictureName()), clean.pixels(), options.sigma(), noisyPsnr)
        + format("  \"head_dim\": %d,%n  \"rows\": [%n", PatchTokens.HEAD_DIM)
        + String.join(format(",%n"), objects)
        + format("%n  ]%n}%n");
  }

  private List<String> properties(Row row) {
    List<String> properties = new ArrayList<>();
    properties.add(format("\"backend\": \"%s\"", row.backend()));
    properties.add(format("\"order\": \"%s\"", row.order().label()));
    properties.add(format("\"arch\": \"%s\"", row.arch()));
    if (!Double.isNaN(row.millis())) {
      properties.add(format("\"ms\": %.4f", row.millis()));
      properties.add(format("\"tops\": %.4f", row.tops(clean.pixels())));
    }
    if (row.sparse() != null) {
      addSparse(properties, row.sparse());
    }
    properties.add(format("\"psnr\": %.3f", row.psnr()));
    properties.add(format("\"l1\": %.6f", row.error()));
    return properties;
  }

  private static void addSparse(List<String> properties, SpargeRun sparse) {
    SparsityOptions thresholds = sparse.thresholds().options();
    properties.add(format("\"thresholds\": \"%s\"", sparse.thresholds().label()));
    properties.add("\"simthreshd1\": " + thresholds.simthreshd1());
    properties.add("\"cdfthreshd\": " + thresholds.cdfthreshd());
    if (!Double.isNaN(sparse.agreement())) { // the reference skips no P V
      properties.add("\"pvthreshd\": " + thresholds.pvthreshd());
      properties.add(format("\"like_reference\": %.6f", sparse.agreement()));
    }
    properties.add("\"query_block\": " + sparse.map().grid().queryBlock());
    properties.add("\"key_block\": " + sparse.map().grid().keyBlock());
    properties.add(format("\"sparsity\": %.6f", sparse.map().sparsity()));
  }

  private static String escaped(String text) {
    return text.replace("\\", "\\\\").replace("\"", "\\\"");
  }

  private static String format(String format, Object... arguments) {
    return String.format(Locale.ROOT, format, arguments);
  }
}
