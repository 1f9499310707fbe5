package org.attn4j.distributed;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.util.Map;
import java.util.TreeMap;
import org.attn4j.InvalidAttentionArgumentException;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** What launchers put into the environment. */
public class RankEnvironmentTest {
  private static Map<String, String> with(String... pairs) {
    Map<String, String> map = new TreeMap<>(Map.of("MASTER_ADDR", "node7", "MASTER_PORT", "29500"));
    for (int i = 0; i < pairs.length; i += 2) {
      map.put(pairs[i], pairs[i + 1]);
    }
    return map;
  }

  @DataProvider
  public Object[][] launchers() {
    return new Object[][] {
      {with("RANK", "5", "WORLD_SIZE", "8", "LOCAL_RANK", "1", "LOCAL_WORLD_SIZE", "4")},
      {
        with(
            "OMPI_COMM_WORLD_RANK", "5",
            "OMPI_COMM_WORLD_SIZE", "8",
            "OMPI_COMM_WORLD_LOCAL_RANK", "1",
            "OMPI_COMM_WORLD_LOCAL_SIZE", "4")
      },
      {with("PMI_RANK", "5", "PMI_SIZE", "8", "MPI_LOCALRANKID", "1", "MPI_LOCALNRANKS", "4")},
      {
        with(
            "SLURM_PROCID", "5",
            "SLURM_NTASKS", "8",
            "SLURM_LOCALID", "1",
            "SLURM_NTASKS_PER_NODE", "4")
      },
    };
  }

  @Test(dataProvider = "launchers")
  public void everyLauncherIsRead(Map<String, String> variables) {
    assertEquals(
        RankEnvironment.of(variables), new RankEnvironment(5, 8, 1, 4, "node7", 29500, false, 0));
  }

  @Test
  public void torchrunsAgentAndRestartsAreRead() {
    RankEnvironment read =
        RankEnvironment.of(
            with(
                "RANK", "0",
                "WORLD_SIZE", "1",
                "TORCHELASTIC_USE_AGENT_STORE", "True",
                "TORCHELASTIC_RESTART_COUNT", "3"));
    assertTrue(read.agentStore());
    assertEquals(read.generation(), 3);
    assertFalse(RankEnvironment.of(with("RANK", "0", "WORLD_SIZE", "1")).agentStore());
  }

  @Test
  public void withoutLocalNumbersAllRanksAreOfOneMachine() {
    RankEnvironment read = RankEnvironment.of(with("RANK", "2", "WORLD_SIZE", "3"));
    assertEquals(read.localRank(), 2);
    assertEquals(read.localSize(), 3);
  }

  @DataProvider
  public Object[][] bad() {
    return new Object[][] {
      {with("RANK", "0"), "none of WORLD_SIZE"},
      {with("WORLD_SIZE", "2"), "none of RANK"},
      {with("RANK", "one", "WORLD_SIZE", "2"), "RANK is 'one'"},
      {with("RANK", "2", "WORLD_SIZE", "2"), "rank is 2; 0 to 1 are accepted"},
      {with("RANK", "0", "WORLD_SIZE", "0"), "size is 0"},
      {with("RANK", "0", "WORLD_SIZE", "1", "MASTER_ADDR", " "), "MASTER_ADDR is not set"},
      {with("RANK", "0", "WORLD_SIZE", "1", "MASTER_PORT", "70000"), "masterPort is 70000"},
    };
  }

  @Test(dataProvider = "bad")
  public void whatIsMissingOrWrongIsNamed(Map<String, String> variables, String part) {
    Exception e =
        expectThrows(InvalidAttentionArgumentException.class, () -> RankEnvironment.of(variables));
    assertTrue(e.getMessage().contains(part), e.getMessage());
  }
}
