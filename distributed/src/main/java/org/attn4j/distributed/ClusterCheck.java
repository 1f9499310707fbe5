package org.attn4j.distributed;

import java.time.Duration;
import java.util.Locale;
import org.attn4j.CausalMask;
import org.attn4j.DType;
import org.attn4j.InvalidAttentionArgumentException;
import org.attn4j.distributed.WorldOptions.Transport;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.DeviceType;

/**
 * Says whether the ranks that a launcher started can compute together: each mesh of them, one
 * sequence, against attention of the whole sequence in this process. A program for a new cluster:
 *
 * <pre>
 *   java -cp ... org.attn4j.distributed.ClusterCheck [gloo|nccl] [tokens] [heads]
 * </pre>
 *
 * <p>Exits with 0 if every mesh was right, 1 if one wasn't, 2 if the ranks didn't come together.
 */
public final class ClusterCheck {
  private static final int HEAD_DIM = 64;
  private static final double ALLOWED_32 = 1e-5;
  private static final double ALLOWED_16 = 0.05; // relative L1: the quantised kernels' is 0.035
  private static final int ROUNDS = 3;

  private final World world;
  private final long tokens;
  private final int heads;
  private final boolean cuda;

  private ClusterCheck(World world, long tokens, int heads) {
    this.world = world;
    this.tokens = tokens;
    this.heads = heads;
    cuda = world.options().transport() == Transport.NCCL;
  }

  /**
   * Runs the check; the arguments are in the description of the class.
   *
   * @param args transport, tokens and heads; all may be left out
   */
  public static void main(String[] args) {
    int exit;
    try {
      exit = check(args);
    } catch (RankException | InvalidAttentionArgumentException e) {
      System.err.println(e.getMessage());
      exit = 2;
    }
    System.exit(exit); // whatever threads c10d has left
  }

  private static int check(String[] args) {
    Transport transport = transport(args.length > 0 ? args[0] : "gloo");
    long tokens = args.length > 1 ? number("tokens", args[1]) : 1000;
    int heads = args.length > 2 ? (int) number("heads", args[2]) : 8;
    WorldOptions options =
        WorldOptions.DEFAULTS
            .withTransport(transport)
            .withTimeout(Duration.ofSeconds(30))
            .withJoinTimeout(Duration.ofSeconds(60));
    try (World world = World.join(RankEnvironment.ofProcess(), options)) {
      boolean right = new ClusterCheck(world, tokens, heads).run();
      world.barrier();
      return right ? 0 : 1;
    }
  }

  private static Transport transport(String name) {
    return switch (name) {
      case "gloo" -> Transport.GLOO;
      case "nccl" -> Transport.NCCL;
      default ->
          throw new InvalidAttentionArgumentException(
              "the transport is '" + name + "'; gloo and nccl are accepted");
    };
  }

  private static long number(String name, String text) {
    try {
      long value = Long.parseLong(text);
      if (value > 0) {
        return value;
      }
    } catch (NumberFormatException e) {
      // answered below
    }
    throw new InvalidAttentionArgumentException(
        name + " is '" + text + "'; a whole number above 0 is accepted");
  }

  private boolean run() {
    boolean right = true;
    for (int ulysses = 1; ulysses <= world.size(); ulysses++) {
      if (world.size() % ulysses == 0) {
        right &= run(SequenceMesh.of(world.size() / ulysses, ulysses));
      }
    }
    return right;
  }

  /** One mesh: this rank's error, and the time of a call. */
  @SuppressWarnings("try") // the scope is there to be closed
  private boolean run(SequenceMesh mesh) {
    SequenceLayout layout = SequenceLayout.of(tokens, mesh, CausalMask.NONE);
    DType type = cuda ? DType.FLOAT16 : DType.FLOAT32;
    try (PointerScope scope = new PointerScope();
        SequenceAttention attention =
            SequenceAttention.builder(world, layout).heads(heads, heads, HEAD_DIM, type).build()) {
      Tensor[] whole = new Tensor[3];
      Tensor[] mine = new Tensor[3];
      for (int i = 0; i < 3; i++) {
        whole[i] = numbers(i, type);
        mine[i] = layout.shard(whole[i], 2, world.rank());
      }
      Tensor wanted = layout.shard(expected(whole), 2, world.rank());
      double millis = Double.POSITIVE_INFINITY;
      Tensor o = null;
      for (int round = 0; round < ROUNDS; round++) {
        world.barrier();
        long start = System.nanoTime();
        o = attention.attend(mine[0], mine[1], mine[2]);
        world.barrier(); // the slowest rank counts; on a GPU the output's sum waits for the kernels
        millis = Math.min(millis, (System.nanoTime() - start) / 1e6);
      }
      double error = error(o, wanted);
      boolean right = error <= (cuda ? ALLOWED_16 : ALLOWED_32);
      System.out.printf(
          Locale.ROOT,
          "rank %d of %d: %s: %d tokens here, error %.2g, %.1f ms a call: %s%n",
          world.rank(),
          world.size(),
          mesh,
          layout.length(world.rank()),
          error,
          millis,
          right ? "right" : "WRONG");
      return right;
    }
  }

  /** Numbers that need no random generator, which belongs to the process and not to the rank. */
  private Tensor numbers(int which, DType type) {
    Tensor numbers =
        torch
            .arange(new Scalar(heads * tokens * HEAD_DIM))
            .mul(new Scalar(1.7 + which))
            .sin()
            .view(1, heads, tokens, HEAD_DIM);
    if (!cuda) {
      return numbers;
    }
    Device device = new Device(DeviceType.CUDA, (byte) world.environment().localRank());
    return numbers.to(device, Tensors.scalarType(type));
  }

  private static Tensor expected(Tensor[] whole) {
    return torch.scaled_dot_product_attention(whole[0], whole[1], whole[2]);
  }

  /** The largest error in FP32; the relative L1 error in 16 bits, where kernels may quantise. */
  private double error(Tensor o, Tensor wanted) {
    if (o.numel() == 0) {
      return 0;
    }
    Tensor difference = o.sub(wanted).to(torch.ScalarType.Double).abs();
    Tensor size = wanted.to(torch.ScalarType.Double).abs();
    double error =
        cuda
            ? difference.sum().item_double() / size.sum().item_double()
            : difference.max().item_double();
    return error >= 0 ? error : Double.POSITIVE_INFINITY; // NaN
  }
}
