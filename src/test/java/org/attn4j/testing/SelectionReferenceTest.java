package org.attn4j.testing;

import static org.testng.Assert.assertEquals;

import org.attn4j.testing.SelectionReference.Decision;
import org.attn4j.testing.SelectionReference.Thresholds;
import org.testng.annotations.Test;

/** The reference on rows that can be checked by hand. */
public class SelectionReferenceTest {
  // Masses 1/2, 1/4, 1/8, 1/8.
  private static final float[] SCORES = {1, 3, 1, 2};
  private static final float[] ALIKE = {1, 1, 1, 1};

  private static String select(float[] scores, float[] similarity, float query, Thresholds t) {
    StringBuilder text = new StringBuilder();
    for (Decision d : SelectionReference.select(scores, similarity, query, scores.length, t)) {
      text.append(d == Decision.KEEP ? 'k' : d == Decision.LEAVE ? '.' : '?');
    }
    return text.toString();
  }

  private static Thresholds mass(double share) {
    return new Thresholds(0.5f, (float) share, 0f, false);
  }

  @Test
  public void keepsWhatHoldsNoMoreThanTheShare() {
    assertEquals(select(SCORES, ALIKE, 1, mass(0)), ".k..");
    assertEquals(select(SCORES, ALIKE, 1, mass(0.6)), ".k..");
    assertEquals(select(SCORES, ALIKE, 1, mass(0.8)), ".k.k");
    assertEquals(select(SCORES, ALIKE, 1, mass(0.9)), "kk.k"); // a tie goes to the first
    assertEquals(select(SCORES, ALIKE, 1, mass(0.875)), "?k.k");
    assertEquals(select(SCORES, ALIKE, 1, mass(1)), "kkkk");
  }

  @Test
  public void keepsTheLargerOfShareAndRank() {
    assertEquals(select(SCORES, ALIKE, 1, new Thresholds(0.5f, 0f, 0.5f, false)), ".k.k");
    assertEquals(select(SCORES, ALIKE, 1, new Thresholds(0.5f, 0.9f, 0.5f, false)), "kk.k");
    assertEquals(select(SCORES, ALIKE, 1, new Thresholds(0.5f, 0f, 0.49f, true)), "kk..");
  }

  @Test
  public void keepsWhatNoAverageDescribes() {
    assertEquals(select(SCORES, ALIKE, 0.5f, mass(0)), "kkkk");
    assertEquals(select(SCORES, ALIKE, Float.NaN, mass(0)), "kkkk");
    assertEquals(select(SCORES, new float[] {1, 1, 0.4f, Float.NaN}, 1, mass(0)), ".kkk");
    float[] infinite = {1, Float.NaN, 1, Float.POSITIVE_INFINITY};
    assertEquals(select(infinite, ALIKE, 1, mass(0)), "kk.k");
  }
}
