package org.attn4j;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.attn4j.SparsityTuner.Budget;
import org.attn4j.SparsityTuner.Measurement;
import org.testng.annotations.Test;

/** The tuner's search over made-up heads, and the file that keeps its result. */
public class SparsityTunerTest {
  private static final Budget BUDGET = new Budget(0.05f, 0.06f);

  /** Head h errs (1 - mass) / (h + 2), more below similarity 0.2; head 3 always errs too much. */
  private static Measurement measure(float[] similarity, float[] mass, float[] skip) {
    float[] error = new float[4];
    float[] sparsity = new float[4];
    for (int h = 0; h < 4; h++) {
      error[h] = (1 - mass[h]) / (h + 2) + (similarity[h] < 0.2f ? 1 : 0) + 0.08f / (1 + skip[h]);
      sparsity[h] = (1 - mass[h]) * (1 - similarity[h]) / 2;
      if (h == 3) {
        error[h] = 0.5f;
      }
    }
    return new Measurement(error, sparsity);
  }

  private static final SparsityProfile PROFILE =
      SparsityTuner.search(4, BUDGET, SparsityTunerTest::measure);

  @Test
  public void staysInTheBudgetAndUsesIt() {
    for (int h = 0; h < 3; h++) {
      assertTrue(PROFILE.l1()[h] <= BUDGET.pvL1(), "head " + h + ": " + PROFILE.l1()[h]);
      assertEquals(PROFILE.simthreshd1()[h], 0.2f, "the lowest similarity that is bearable");
      float possible = (BUDGET.l1() - 0.08f / 33) * (h + 2); // of the mass
      assertEquals(1 - PROFILE.cdfthreshd()[h], possible, 1 / 64f);
      assertTrue(PROFILE.pvthreshd()[h] < 32, "part of the budget is for skipping");
    }
  }

  @Test
  public void aHeadThatNothingSuitsComputesEverything() {
    assertEquals(PROFILE.simthreshd1()[3], 1f);
    assertEquals(PROFILE.cdfthreshd()[3], 1f);
    assertEquals(PROFILE.pvthreshd()[3], 32f);
    assertEquals(PROFILE.sparsity()[3], 0f);
  }

  @Test
  public void aFileKeepsTheProfile() throws IOException {
    Path file = Files.createTempFile("profile", ".json");
    try {
      PROFILE.save(file);
      assertEquals(SparsityProfile.load(file), PROFILE);
    } finally {
      Files.delete(file);
    }
  }

  @Test
  public void anythingElseIsRefused() {
    String json = PROFILE.toJson();
    assertEquals(
        message(json.replace("\"l1\"", "\"l2\"")), "the sparsity profile has no entry 'l1'");
    assertEquals(
        message(json.replace("}", ", \"x\": [1]}")),
        "the sparsity profile has an unknown entry 'x'");
    assertTrue(message(json.replace("[", "[0.5, ").replaceFirst("0.5, ", "")).contains("one per"));
    assertTrue(message(json.replace("1.0", "one")).contains("no array of numbers"));
    for (String bad : new String[] {"", "{", json + "x", json.replace(",\n", "\n"), "[1]"}) {
      assertEquals(
          message(bad), "the sparsity profile is no JSON object of arrays of numbers", bad);
    }
    assertTrue(message(json.replace("1.0", "1.5")).contains("1.5;"));
  }

  private static String message(String json) {
    return expectThrows(
            InvalidAttentionArgumentException.class, () -> SparsityProfile.fromJson(json))
        .getMessage();
  }
}
