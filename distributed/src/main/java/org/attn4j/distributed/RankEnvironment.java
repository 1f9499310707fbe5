package org.attn4j.distributed;

import java.util.Map;
import org.attn4j.InvalidAttentionArgumentException;

/**
 * Which rank this process is, and where the ranks meet: what a launcher (torchrun, mpirun, srun, a
 * Kubernetes job, a shell loop) puts into the environment.
 *
 * @param rank this process, from 0
 * @param size the number of ranks
 * @param localRank this process among those of its machine, from 0: which GPU it takes
 * @param localSize the number of ranks on this machine
 * @param masterHost the machine that serves the key-value store
 * @param masterPort its port, 1 to 65535
 * @param agentStore whether the launcher's agent serves the store; if not, rank 0 does
 * @param generation the number of this start; ranks of different generations never meet
 */
public record RankEnvironment(
    int rank,
    int size,
    int localRank,
    int localSize,
    String masterHost,
    int masterPort,
    boolean agentStore,
    int generation) {

  /**
   * Checks the numbers.
   *
   * @param rank the number of a rank, from 0
   * @param size the number of ranks
   * @param localRank this process among those of its machine, from 0
   * @param localSize the number of ranks on this machine
   * @param masterHost the machine that serves the key-value store
   * @param masterPort its port, 1 to 65535
   * @param agentStore whether the launcher's agent serves the store
   * @param generation the number of this start
   */
  public RankEnvironment {
    require(size >= 1, "size is " + size + "; 1 or more ranks are accepted");
    require(rank >= 0 && rank < size, "rank is " + rank + "; 0 to " + (size - 1) + " are accepted");
    require(localSize >= 1, "localSize is " + localSize + "; 1 or more is accepted");
    require(
        localRank >= 0 && localRank < localSize,
        "localRank is " + localRank + "; 0 to " + (localSize - 1) + " are accepted");
    require(
        masterHost != null && !masterHost.isBlank(),
        "masterHost is " + (masterHost == null ? "null" : "blank") + "; a host name is needed");
    require(
        masterPort >= 1 && masterPort <= 65535,
        "masterPort is " + masterPort + "; 1 to 65535 are accepted");
    require(generation >= 0, "generation is " + generation + "; 0 or more is accepted");
  }

  /**
   * A rank of the first generation whose store is served by rank 0.
   *
   * @param rank the number of a rank, from 0
   * @param size the number of ranks
   * @param localRank this process among those of its machine, from 0
   * @param localSize the number of ranks on this machine
   * @param masterHost the machine that serves the key-value store
   * @param masterPort its port, 1 to 65535
   * @return what was read or given
   */
  public static RankEnvironment of(
      int rank, int size, int localRank, int localSize, String masterHost, int masterPort) {
    return new RankEnvironment(rank, size, localRank, localSize, masterHost, masterPort, false, 0);
  }

  /**
   * What this process's environment says; see {@link #of(Map)}.
   *
   * @return what was read
   * @throws InvalidAttentionArgumentException if a variable is missing or isn't a number
   */
  public static RankEnvironment ofProcess() {
    return of(System.getenv());
  }

  /**
   * Reads torchrun's names, then Open MPI's, MPICH's and Slurm's: the rank from RANK,
   * OMPI_COMM_WORLD_RANK, PMI_RANK or SLURM_PROCID; the size from WORLD_SIZE, OMPI_COMM_WORLD_SIZE,
   * PMI_SIZE or SLURM_NTASKS; the local rank and size from LOCAL_RANK, OMPI_COMM_WORLD_LOCAL_RANK,
   * MPI_LOCALRANKID or SLURM_LOCALID, and LOCAL_WORLD_SIZE, OMPI_COMM_WORLD_LOCAL_SIZE,
   * MPI_LOCALNRANKS or SLURM_NTASKS_PER_NODE. MASTER_ADDR and MASTER_PORT are needed whoever
   * starts. Without a local rank or size all ranks are taken for ranks of one machine.
   * TORCHELASTIC_USE_AGENT_STORE and TORCHELASTIC_RESTART_COUNT are torchrun's.
   *
   * @param variables names and values, as of the environment
   * @return what was read or given
   * @throws InvalidAttentionArgumentException if a variable is missing or isn't a number
   */
  public static RankEnvironment of(Map<String, String> variables) {
    Reader read = new Reader(variables);
    int rank = read.number("RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID");
    int size = read.number("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_NTASKS");
    int localSize =
        read.numberOr(
            size,
            "LOCAL_WORLD_SIZE",
            "OMPI_COMM_WORLD_LOCAL_SIZE",
            "MPI_LOCALNRANKS",
            "SLURM_NTASKS_PER_NODE");
    int localRank =
        read.numberOr(
            rank % Math.max(localSize, 1),
            "LOCAL_RANK",
            "OMPI_COMM_WORLD_LOCAL_RANK",
            "MPI_LOCALRANKID",
            "SLURM_LOCALID");
    return new RankEnvironment(
        rank,
        size,
        localRank,
        Math.max(localSize, localRank + 1), // Slurm's last machine may have fewer than it says
        read.text("MASTER_ADDR"),
        read.number("MASTER_PORT"),
        "true".equalsIgnoreCase(variables.get("TORCHELASTIC_USE_AGENT_STORE")),
        read.numberOr(0, "TORCHELASTIC_RESTART_COUNT"));
  }

  /**
   * The same rank in another generation.
   *
   * @param value the number of a start, 0 or more
   * @return the changed copy
   */
  public RankEnvironment withGeneration(int value) {
    return new RankEnvironment(
        rank, size, localRank, localSize, masterHost, masterPort, agentStore, value);
  }

  private static void require(boolean condition, String sentence) {
    if (!condition) {
      throw new InvalidAttentionArgumentException(sentence);
    }
  }

  private record Reader(Map<String, String> variables) {
    String text(String name) {
      String value = variables.get(name);
      require(
          value != null && !value.isBlank(),
          name + " is not set; the launcher, or whoever starts the ranks, has to set it");
      return value.trim();
    }

    int number(String... names) {
      for (String name : names) {
        if (variables.containsKey(name)) {
          return parse(name);
        }
      }
      throw new InvalidAttentionArgumentException(
          "none of " + String.join(", ", names) + " is set; a launcher sets one of them");
    }

    int numberOr(int otherwise, String... names) {
      for (String name : names) {
        if (variables.containsKey(name)) {
          return parse(name);
        }
      }
      return otherwise;
    }

    private int parse(String name) {
      String value = text(name);
      try {
        return Integer.parseInt(value);
      } catch (NumberFormatException e) {
        throw new InvalidAttentionArgumentException(
            name + " is '" + value + "'; a whole number is accepted");
      }
    }
  }
}
