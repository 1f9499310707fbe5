package org.attn4j.distributed;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.util.List;
import org.testng.annotations.Test;

/** Which heads a member has, and in how many calls it computes them. */
public class HeadSplitTest {
  private static final int[][] HEADS = {
    {40, 40}, {24, 24}, {32, 8}, {8, 2}, {6, 3}, {7, 7}, {12, 1}
  };

  @Test
  public void everyHeadIsComputedOnceWithItsKeys() {
    for (int[] heads : HEADS) {
      for (int members = 1; members <= 16; members++) {
        HeadSplit split = new HeadSplit(heads[0], heads[1], members);
        assertEquals(split.first(0), 0);
        assertEquals(split.first(members), heads[0]);
        for (int member = 0; member < members; member++) {
          assertCallsCover(split, member);
        }
      }
    }
  }

  private static void assertCallsCover(HeadSplit split, int member) {
    int next = 0;
    for (HeadSplit.Call call : split.calls(split.first(member), split.count(member))) {
      assertEquals(call.head(), next, split + " " + call);
      next += call.heads();
      for (int head = call.head(); head < next && call.heads() > 0; head++) {
        int wanted = (split.first(member) + head) / split.group() - split.firstKv(member);
        // As the kernels do it: query head h of a call reads its key head h / (heads / kvHeads).
        int read = call.kvHead() + (head - call.head()) / (call.heads() / call.kvHeads());
        assertEquals(read, wanted, split + " member " + member + " " + call);
        assertTrue(read < split.kvCount(member), split + " " + call);
      }
    }
    assertEquals(next, split.count(member));
  }

  @Test
  public void wholeGroupsAreOneCall() {
    HeadSplit split = new HeadSplit(32, 8, 4);
    assertEquals(split.calls(8, 8), List.of(new HeadSplit.Call(0, 8, 0, 2)));
    assertEquals(split.most(), 8);
    assertEquals(split.mostKv(), 2);
  }

  @Test
  public void fewKeyHeadsGoToSeveralMembers() {
    HeadSplit split = new HeadSplit(8, 2, 4);
    for (int member = 0; member < 4; member++) {
      assertEquals(split.count(member), 2);
      assertEquals(split.kvCount(member), 1);
      assertEquals(split.firstKv(member), member / 2);
    }
  }

  @Test
  public void moreMembersThanHeadsLeaveSomeWithout() {
    HeadSplit split = new HeadSplit(2, 2, 3);
    assertEquals(split.count(0) + split.count(1) + split.count(2), 2);
    assertEquals(split.most(), 1);
  }
}
