package org.attn4j.samples;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;

import com.google.gson.Gson;
import com.google.gson.JsonObject;
import java.util.List;
import org.attn4j.BlockGrid;
import org.attn4j.samples.ResultTable.Row;
import org.attn4j.samples.SpargeRun.Thresholds;
import org.testng.annotations.Test;

/** The table, with the rows that only a machine with a GPU has. */
public class ResultTableTest {
  private static final Picture CLEAN = Picture.of(256, 128, new float[256 * 128 * 3]);
  private static final Picture NOISY = CLEAN.withNoise(0.1, 1);

  private static ResultTable table(double millis, double agreement, String backend) {
    BlockMap map = BlockMap.of(new BlockGrid(128, 64, 1, 4), new float[] {1, 0, 0, 0});
    SpargeRun run =
        new SpargeRun(
            PictureOrder.HILBERT, Thresholds.TRUSTING, "sm90", NOISY, millis, map, agreement);
    DemoOptions options = DemoOptions.parse("--image", "a \"b\".png");
    ResultTable table = new ResultTable(options, CLEAN, NOISY);
    table.add(new Row("exact", PictureOrder.TILES, "sm90", 2, null, 30, 0.001));
    table.add(new Row(backend, PictureOrder.HILBERT, "sm90", millis, run, 29.5, 0.0125));
    return table;
  }

  @Test
  public void aKernelHasTimeSpeedAndAgreement() {
    ResultTable table = table(0.5, 0.75, "sparge");
    List<String> lines = table.lines();
    assertEquals(lines.size(), 3);
    // 4 * 32768^2 * 64 operations in half a millisecond
    assertTrue(lines.get(2).contains(" 0.50   549.756    75.0 %    29.50  0.012500"), lines.get(2));
    assertEquals(lines.get(1).length(), lines.get(2).length(), "columns");
    String json = table.toJson();
    assertTrue(json.contains("\"picture\": \"a \\\"b\\\".png\",\n  \"pixels\": 32768"), json);
    assertTrue(
        json.contains("\"ms\": 0.5000, \"tops\": 549.7558, \"thresholds\": \"sim0.3\""), json);
    assertTrue(json.contains("\"pvthreshd\": 15.0, \"like_reference\": 0.750000"), json);
    assertTrue(json.contains("\"key_block\": 64, \"sparsity\": 0.750000, \"psnr\": 29.500"), json);
    assertEquals(table.notes().size(), 1);
    assertTrue(table.notes().get(0).contains("alike for 75.000 % of the blocks"));
  }

  @Test
  public void theJsonIsJson() {
    JsonObject json = parse(table(0.5, 0.75, "sparge"));
    assertEquals(json.get("picture").getAsString(), "a \"b\".png");
    assertEquals(json.getAsJsonArray("rows").size(), 2);
    // a picture without noise: its PSNR is infinite, which JSON has no number for
    DemoOptions options = DemoOptions.parse("--image", "\t.png");
    json = parse(new ResultTable(options, CLEAN, CLEAN));
    assertTrue(json.get("noisy_psnr").isJsonNull());
    assertEquals(json.get("picture").getAsString(), "\t.png");
  }

  private static JsonObject parse(ResultTable table) {
    return new Gson().fromJson(table.toJson(), JsonObject.class);
  }

  @Test
  public void theReferenceHasNoTime() {
    ResultTable table = table(Double.NaN, Double.NaN, ResultTable.REFERENCE);
    assertTrue(table.lines().get(2).contains(" -         -    75.0 %"), table.lines().get(2));
    assertEquals(table.lines().get(1).length(), table.lines().get(2).length(), "columns");
    String row =
        table.toJson().lines().filter(line -> line.contains("reference")).findFirst().get();
    assertFalse(row.contains("ms") || row.contains("NaN") || row.contains("pvthreshd"), row);
    assertEquals(table.notes().size(), 1);
    assertTrue(table.notes().get(0).startsWith("reference: "));
  }
}
