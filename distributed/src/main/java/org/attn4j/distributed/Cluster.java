package org.attn4j.distributed;

import org.attn4j.InvalidAttentionArgumentException;

/**
 * What the cost model knows of GPUs and the links between them.
 *
 * @param gpusPerNode GPUs of one machine
 * @param nodeBytesPerSecond between two GPUs of a machine, each direction
 * @param networkBytesPerSecond of one GPU to other machines, each direction
 * @param linkShare the share of those that NCCL reaches
 * @param exchangeSeconds what starting an exchange costs
 * @param stepSeconds what a step of attention costs besides its arithmetic
 * @param memoryBytesPerSecond what elementwise kernels reach
 */
public record Cluster(
    int gpusPerNode,
    double nodeBytesPerSecond,
    double networkBytesPerSecond,
    double linkShare,
    double exchangeSeconds,
    double stepSeconds,
    double memoryBytesPerSecond) {
  /**
   * Machines of 8 H200 with NVLink and a 400 Gb/s network card for each GPU. Measured on two of
   * them: NVLink, counted as 301 GB/s so that the share of 0.8 makes the 241 GB/s that NCCL sends
   * while as much comes in, and 1.3 TB/s of the merge. The share on the network, and 20 and 30
   * microseconds, are assumptions.
   */
  public static final Cluster H200 = new Cluster(8, 301e9, 50e9, 0.8, 20e-6, 30e-6, 1.3e12);

  // sageattn of 1924c9f on an H200, quantisation included. Keys, then TOPS.
  private static final double[][] TOPS_128 = {
    {512, 338.3},
    {1024, 621.7},
    {2048, 675.8},
    {4096, 731.9},
    {8192, 844.9},
    {16384, 911.8},
    {32768, 905.9}
  };
  private static final double[][] TOPS_64 = {
    {1024, 424.3}, {2048, 485.3}, {4096, 512.0}, {8192, 564.8}, {16384, 595.0}, {32768, 623.0}
  };
  private static final int WIDE = 96; // from this head_dim on, the kernels' tiles are of 128

  /**
   * Checks the numbers.
   *
   * @param gpusPerNode GPUs of one machine
   * @param nodeBytesPerSecond between two GPUs of a machine, each direction
   * @param networkBytesPerSecond of one GPU to other machines, each direction
   * @param linkShare the share of those that NCCL reaches
   * @param exchangeSeconds what starting an exchange costs
   * @param stepSeconds what a step of attention costs besides its arithmetic
   * @param memoryBytesPerSecond what elementwise kernels reach
   */
  public Cluster {
    if (gpusPerNode < 1
        || !(nodeBytesPerSecond > 0 && networkBytesPerSecond > 0 && memoryBytesPerSecond > 0)
        || !(linkShare > 0 && linkShare <= 1)
        || !(exchangeSeconds >= 0 && stepSeconds >= 0)) {
      throw new InvalidAttentionArgumentException(
          "a cluster's GPUs and speeds must be above 0, its share from 0 to 1, its times 0 or more");
    }
  }

  /**
   * The same with other machines.
   *
   * @param value GPUs of one machine
   * @return the changed copy
   */
  public Cluster withGpusPerNode(int value) {
    return new Cluster(
        value,
        nodeBytesPerSecond,
        networkBytesPerSecond,
        linkShare,
        exchangeSeconds,
        stepSeconds,
        memoryBytesPerSecond);
  }

  /**
   * The same with other links.
   *
   * @param nodeBytes bytes a second between two GPUs of a machine, each direction
   * @param networkBytes bytes a second of one GPU to other machines, each direction
   * @return the changed copy
   */
  public Cluster withLinks(double nodeBytes, double networkBytes) {
    return new Cluster(
        gpusPerNode,
        nodeBytes,
        networkBytes,
        linkShare,
        exchangeSeconds,
        stepSeconds,
        memoryBytesPerSecond);
  }

  /**
   * Operations a second of attention to so many keys: between the measured lengths, by their
   * logarithm.
   */
  double operationsPerSecond(double keys, int headDim) {
    double[][] table = headDim >= WIDE ? TOPS_128 : TOPS_64;
    int last = table.length - 1;
    if (keys <= table[0][0]) {
      return table[0][1] * 1e12;
    }
    for (int i = 0; i < last; i++) {
      if (keys <= table[i + 1][0]) {
        double share = Math.log(keys / table[i][0]) / Math.log(table[i + 1][0] / table[i][0]);
        return (table[i][1] + share * (table[i + 1][1] - table[i][1])) * 1e12;
      }
    }
    return table[last][1] * 1e12;
  }
}
