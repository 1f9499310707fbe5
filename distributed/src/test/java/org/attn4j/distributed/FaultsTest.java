package org.attn4j.distributed;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertNotNull;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.util.List;
import org.attn4j.distributed.RankException.Kind;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** What the others are told when something happens to one of three ranks, and how they go on. */
public class FaultsTest {
  private static final int SIZE = 3;
  private static final int PATIENCE = 200;

  /** What a rank said that it caught. */
  private record Caught(Kind kind, int peer, long millis, String sentence) {
    static Caught of(Processes.Ended rank) {
      String line = rank.line("caught");
      assertNotNull(line, "rank " + rank.rank() + " caught nothing: " + rank);
      String[] parts = line.split(" ", 4);
      return new Caught(
          Kind.valueOf(parts[0]), Integer.parseInt(parts[1]), Long.parseLong(parts[2]), parts[3]);
    }
  }

  private static List<Processes.Ended> run(
      String scenario, int victim, int ring, int ulysses, boolean goOn)
      throws IOException, InterruptedException {
    int port = goOn ? Processes.freePort() : 0;
    Processes ranks =
        Processes.start(
            SIZE, FaultRank.class, scenario, "" + victim, "" + ring, "" + ulysses, "" + port);
    try (ranks) {
      // A victim that hangs ends when it is stopped, once the others have ended.
      return scenario.equals("hang") ? ranks.awaitAllBut(victim, PATIENCE) : ranks.await(PATIENCE);
    }
  }

  @DataProvider
  public Object[][] deaths() {
    return new Object[][] {
      {"die", 2, 3, 1},
      {"die", 2, 1, 3},
      {"die", 0, 3, 1},
      {"die", 0, 1, 3},
      {"die-building", 1, 1, 3}
    };
  }

  @Test(dataProvider = "deaths")
  public void deathIsToldAtOnceAndTheOthersGoOn(String when, int victim, int ring, int ulysses)
      throws IOException, InterruptedException {
    for (Processes.Ended rank : run(when, victim, ring, ulysses, true)) {
      if (rank.rank() == victim) {
        assertEquals(rank.exit(), 9, "" + rank);
        continue;
      }
      Caught caught = Caught.of(rank);
      assertEquals(caught.kind(), Kind.PEER_LOST, "" + rank);
      assertEquals(caught.peer(), victim, "" + rank);
      assertTrue(caught.millis() < FaultRank.PLENTY.toMillis(), "" + caught);
      assertTrue(caught.sentence().contains("rank " + victim), caught.sentence());
      assertTrue(rank.line("again").startsWith("PEER_LOST"), "" + rank);
      assertWentOn(rank);
    }
  }

  private static void assertWentOn(Processes.Ended rank) {
    assertEquals(rank.exit(), 0, "" + rank);
    String next = rank.line("next");
    assertNotNull(next, "" + rank);
    assertTrue(next.startsWith("2 ") && Double.parseDouble(next.split(" ")[1]) < 1e-5, next);
  }

  @DataProvider
  public Object[][] meshes() {
    return new Object[][] {{3, 1}, {1, 3}};
  }

  @Test(dataProvider = "meshes")
  public void hangEndsAfterTheTimeOutAndTheOthersGoOn(int ring, int ulysses)
      throws IOException, InterruptedException {
    int victim = 1;
    long timeout = FaultRank.TIMEOUT.toMillis();
    long longest = 0;
    for (Processes.Ended rank : run("hang", victim, ring, ulysses, true)) {
      if (rank.rank() != victim) {
        Caught caught = Caught.of(rank);
        assertEquals(caught.kind(), Kind.TIMEOUT, "" + rank);
        assertTrue(caught.millis() < timeout + 20_000, "" + caught);
        longest = Math.max(longest, caught.millis());
        assertWentOn(rank);
      }
    }
    assertTrue(longest >= timeout, "nobody waited " + timeout + " ms: " + longest);
  }

  @Test
  public void abortTellsTheReason() throws IOException, InterruptedException {
    for (Processes.Ended rank : run("abort", 1, 3, 1, false)) {
      Caught caught = Caught.of(rank);
      assertEquals(caught.kind(), Kind.ABORTED, "" + rank);
      assertEquals(caught.peer(), 1, "" + rank);
      assertTrue(caught.sentence().contains("the model could not be read"), caught.sentence());
    }
  }

  @Test
  public void mismatchIsASentenceAndTheWorldGoesOn() throws IOException, InterruptedException {
    for (Processes.Ended rank : run("mismatch", 1, 3, 1, false)) {
      Caught caught = Caught.of(rank);
      assertEquals(caught.kind(), Kind.MISMATCH, "" + rank);
      assertTrue(
          caught.sentence().contains("headDim=32") && caught.sentence().contains("headDim=64"),
          caught.sentence());
      assertNotNull(rank.line("finished"), "" + rank);
    }
  }

  @Test
  public void lateRankIsWaitedFor() throws IOException, InterruptedException {
    for (Processes.Ended rank : run("late", 2, 1, 3, false)) {
      assertNotNull(rank.line("finished"), "" + rank);
    }
  }
}
