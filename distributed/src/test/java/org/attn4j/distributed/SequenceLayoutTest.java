package org.attn4j.distributed;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.util.List;
import java.util.Random;
import org.attn4j.CausalMask;
import org.attn4j.InvalidAttentionArgumentException;
import org.testng.annotations.Test;

/** Which token is where. */
public class SequenceLayoutTest {
  private static SequenceLayout random(Random random) {
    SequenceMesh mesh = SequenceMesh.of(1 + random.nextInt(6), 1 + random.nextInt(5));
    CausalMask mask = random.nextBoolean() ? CausalMask.TOP_LEFT : CausalMask.NONE;
    SequenceLayout layout =
        SequenceLayout.of(1 + random.nextInt(2000), mesh, mask).withKeyTile(1 << random.nextInt(8));
    return random.nextInt(3) == 0 ? layout.withoutZigzag() : layout;
  }

  @Test
  public void everyTokenIsOnOneRank() {
    Random random = new Random(1);
    for (int round = 0; round < 500; round++) {
      SequenceLayout layout = random(random);
      int[] owners = new int[(int) layout.tokens()];
      for (int rank = 0; rank < layout.mesh().size(); rank++) {
        long length = 0;
        long last = -1;
        for (TokenRange range : layout.ranges(rank)) {
          assertTrue(range.from() > last && !range.isEmpty(), layout + ": " + range);
          last = range.to() - 1;
          length += range.length();
          for (long token = range.from(); token < range.to(); token++) {
            owners[(int) token]++;
          }
        }
        assertEquals(length, layout.length(rank), layout + " rank " + rank);
      }
      for (int owner : owners) {
        assertEquals(owner, 1, "" + layout);
      }
    }
  }

  @Test
  public void piecesAreWholeTilesButTheLast() {
    Random random = new Random(2);
    for (int round = 0; round < 500; round++) {
      SequenceLayout layout = random(random);
      for (int position = 0; position < layout.mesh().ring(); position++) {
        for (TokenRange range : layout.positionRanges(position)) {
          assertEquals(range.from() % layout.keyTile() == 0 || range.isEmpty(), true, "" + layout);
          boolean whole = range.to() % layout.keyTile() == 0 || range.to() == layout.tokens();
          assertTrue(whole, layout + ": " + range);
        }
      }
    }
  }

  @Test
  public void positionsDifferByATileForEachPiece() {
    Random random = new Random(3);
    for (int round = 0; round < 500; round++) {
      SequenceLayout layout = random(random);
      long least = Long.MAX_VALUE;
      for (int position = 0; position < layout.mesh().ring(); position++) {
        least = Math.min(least, layout.positionLength(position));
      }
      long difference = layout.longestPosition() - least;
      // A piece may be a tile longer than another, and the last lacks up to a tile.
      assertTrue(difference <= 3L * layout.keyTile(), layout + ": " + difference);
    }
  }

  /** Pairs of query and key that a position computes: all the same with zig-zag. */
  @Test
  public void zigzagGivesAllPositionsTheSameWork() {
    for (int ring : new int[] {2, 3, 4, 8}) {
      SequenceLayout layout =
          SequenceLayout.of(ring * 2 * 64L, SequenceMesh.of(ring, 1), CausalMask.TOP_LEFT);
      assertEquals(work(layout, 0), work(layout, ring - 1));
      assertEquals(work(layout, 0), work(layout, ring / 2));
      SequenceLayout plain = layout.withoutZigzag();
      assertTrue(work(plain, ring - 1) > 2 * work(plain, 0));
    }
  }

  private static long work(SequenceLayout layout, int position) {
    long pairs = 0;
    for (TokenRange range : layout.positionRanges(position)) {
      for (long token = range.from(); token < range.to(); token++) {
        pairs += token + 1;
      }
    }
    return pairs;
  }

  @Test
  public void shortSequencesLeaveRanksWithoutTokens() {
    SequenceLayout layout = SequenceLayout.of(3, SequenceMesh.of(2, 4), CausalMask.NONE);
    long all = 0;
    for (int rank = 0; rank < 8; rank++) {
      all += layout.length(rank);
    }
    assertEquals(all, 3);
    assertEquals(layout.ranges(0), List.of());
  }

  @Test
  public void badArgumentsAreSentences() {
    SequenceMesh mesh = SequenceMesh.of(2, 1);
    for (Runnable bad :
        List.<Runnable>of(
            () -> SequenceMesh.of(0, 1),
            () -> SequenceLayout.of(0, mesh, CausalMask.NONE),
            () -> SequenceLayout.of(1, null, CausalMask.NONE),
            () -> SequenceLayout.of(1, mesh, null),
            () -> SequenceLayout.of(1, mesh, CausalMask.NONE).withKeyTile(0))) {
      Throwable e = expectThrows(InvalidAttentionArgumentException.class, bad::run);
      assertTrue(e.getMessage().contains("accepted") || e.getMessage().contains("needed"));
    }
  }
}
