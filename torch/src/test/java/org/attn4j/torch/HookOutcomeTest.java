package org.attn4j.torch;

import org.testng.Assert;
import org.testng.annotations.Test;

/** Java's names of outcomes against those of the native code. */
public class HookOutcomeTest {
  @Test
  public void theTwoListsAgree() {
    Hooked.requireNatives();
    Assert.assertTrue(HookLibrary.load().isEmpty());
    for (HookOutcome outcome : HookOutcome.values()) {
      Assert.assertEquals(HookLibrary.outcomeName(outcome.ordinal()), outcome.name());
    }
    Assert.assertNull(HookLibrary.outcomeName(HookOutcome.values().length));
  }
}
