package org.attn4j.distributed;

import java.io.IOException;
import java.util.List;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** Random shapes on 1 to 4 processes, every mesh, against FP64 attention in one. */
public class RandomCasesTest {
  private static final int CASES = Integer.getInteger("attn4j.distributed.cases", 100);

  @DataProvider
  public Object[][] sizes() {
    return new Object[][] {{1}, {2}, {3}, {4}};
  }

  @Test(dataProvider = "sizes")
  public void ranksComputeWhatOneProcessDoes(int size) throws IOException, InterruptedException {
    long first = 1000L * size;
    String count = "" + (size == 1 ? CASES / 4 : CASES);
    try (Processes ranks = Processes.start(size, CasesRank.class, "" + first, count)) {
      List<Processes.Ended> ended = ranks.awaitSuccess(240);
      System.out.println(
          size
              + " ranks, "
              + count
              + " cases, largest error / allowed: "
              + ended.get(0).line("worst"));
    }
  }

  @Test
  public void garbageCollectionFreesNothingThatIsInUse() throws IOException, InterruptedException {
    try (Processes ranks = Processes.start(2, CasesRank.class, "5000", "" + CASES / 5, "gc")) {
      ranks.awaitSuccess(240);
    }
  }

  /** The way of CUDA tensors over Gloo, through host memory. */
  @Test
  public void stagedMessagesArriveToo() throws IOException, InterruptedException {
    String staged = "-Dorg.attn4j.distributed.staged=true";
    try (Processes ranks =
        Processes.startWith(List.of(staged), 2, CasesRank.class, "6000", "" + CASES / 5)) {
      ranks.awaitSuccess(240);
    }
  }
}
