package org.attn4j.distributed;

import java.time.Duration;
import java.util.Objects;
import org.attn4j.InvalidAttentionArgumentException;

/**
 * How the ranks of a {@link World} talk.
 *
 * @param transport what carries tensors
 * @param timeout how long a call waits for another rank; a rank that hangs costs the others this
 * @param joinTimeout how long {@link World#join} waits for ranks that start late
 * @param address the host name or address of this machine that others reach it by, or null: the one
 *     that leads to the master. It is Gloo's; NCCL reads NCCL_SOCKET_IFNAME
 */
public record WorldOptions(
    Transport transport, Duration timeout, Duration joinTimeout, String address) {
  /** Gloo, 60 seconds a call, 5 minutes to join. */
  public static final WorldOptions DEFAULTS =
      new WorldOptions(Transport.GLOO, Duration.ofSeconds(60), Duration.ofMinutes(5), null);

  /** What carries tensors from rank to rank. */
  public enum Transport {
    /** TCP between tensors in host memory. CUDA tensors are copied to the host and back. */
    GLOO,
    /** NCCL between CUDA tensors; needs PyTorch's GPU build. */
    NCCL
  }

  /**
   * Checks the times.
   *
   * @param transport what carries tensors
   * @param timeout how long a call waits for another rank
   * @param joinTimeout how long joining waits for ranks
   * @param address of this machine, or null
   */
  public WorldOptions {
    Objects.requireNonNull(transport, "transport");
    check("timeout", timeout);
    check("joinTimeout", joinTimeout);
  }

  private static void check(String name, Duration value) {
    if (value == null || value.toMillis() < 1) {
      throw new InvalidAttentionArgumentException(
          name + " is " + value + "; a millisecond or more is accepted");
    }
  }

  /**
   * The same with another transport.
   *
   * @param value Gloo or NCCL
   * @return the changed copy
   */
  public WorldOptions withTransport(Transport value) {
    return new WorldOptions(value, timeout, joinTimeout, address);
  }

  /**
   * The same with another time-out of calls.
   *
   * @param value a millisecond or more
   * @return the changed copy
   */
  public WorldOptions withTimeout(Duration value) {
    return new WorldOptions(transport, value, joinTimeout, address);
  }

  /**
   * The same with another time-out of joining.
   *
   * @param value a millisecond or more
   * @return the changed copy
   */
  public WorldOptions withJoinTimeout(Duration value) {
    return new WorldOptions(transport, timeout, value, address);
  }

  /**
   * The same with another address of this machine.
   *
   * @param value a host name or address, or null
   * @return the changed copy
   */
  public WorldOptions withAddress(String value) {
    return new WorldOptions(transport, timeout, joinTimeout, value);
  }
}
