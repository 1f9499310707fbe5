package org.attn4j;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.util.ArrayList;
import java.util.List;
import org.attn4j.SparsityTuner.Budget;
import org.attn4j.SparsityTuner.Measurement;
import org.testng.annotations.Test;

/** The tuner's search over made-up heads. */
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

  static final SparsityProfile PROFILE =
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
  public void progressCountsEveryRunUpToTheTotal() {
    List<String> heard = new ArrayList<>();
    SparsityTuner.search(
        4,
        BUDGET,
        SparsityTuner.counted(
            (done, total) -> heard.add(done + "/" + total), SparsityTunerTest::measure));
    assertEquals(heard.get(0), "1/49");
    assertEquals(heard.get(heard.size() - 1), "49/49");
    assertEquals(heard.size(), 49);
  }
}
