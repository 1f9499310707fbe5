package org.attn4j.distributed;

import static org.testng.Assert.assertTrue;

import java.io.IOException;
import org.testng.annotations.Test;

/**
 * Many calls hold memory flat. {@code -Dattn4j.distributed.calls=40000} is the long form; CI runs a
 * tenth.
 */
public class MemoryTest {
  private static final int CALLS = Integer.getInteger("attn4j.distributed.calls", 4000);
  // A leak of one output a call would be 1.5 MB in the short form, of one Work or scope far more.
  private static final long KILOBYTES = 8192;

  @Test
  public void callsHoldMemoryFlat() throws IOException, InterruptedException {
    try (Processes ranks = Processes.start(2, MemoryRank.class, "" + CALLS)) {
      for (Processes.Ended rank : ranks.awaitSuccess(120 + CALLS / 50)) {
        String[] grown = rank.line("grown").split(" ");
        System.out.println(CALLS + " calls, rank " + rank.rank() + ": " + rank.line("grown"));
        assertTrue(Long.parseLong(grown[0]) < KILOBYTES, "" + rank);
        assertTrue(Long.parseLong(grown[2]) < 50, "" + rank);
      }
    }
  }
}
