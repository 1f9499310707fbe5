package org.attn4j.distributed;

import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import org.attn4j.AttentionOptions;
import org.attn4j.CausalMask;
import org.attn4j.DType;
import org.attn4j.SdpaBackend;
import org.attn4j.distributed.WorldOptions.Transport;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.DoubleOptional;
import org.bytedeco.pytorch.LongOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch_cuda;

/**
 * A rank of bench/distributed_results.py, which see. Arguments: {@code speed} or {@code death}; the
 * transport, {@code gloo}, {@code staged} (CUDA tensors over Gloo) or {@code nccl}; a backend;
 * tokens; heads; kvHeads; head_dim; causal (0 or 1); rounds. Rank 0 prints one JSON object for each
 * mesh and key exchange.
 */
public final class SequenceSpeed {
  private static final int WARM_UP = 2;
  private static final long MOST_CHECKED = 200_000; // tokens; PyTorch alone takes long for more

  private final World world;
  private final String transport;
  private final SdpaBackend backend;
  private final SequenceProblem problem;
  private final int rounds;

  private SequenceSpeed(World world, String[] args) {
    this.world = world;
    transport = args[1];
    backend = SdpaBackend.valueOf(args[2].toUpperCase(Locale.ROOT));
    problem =
        new SequenceProblem(
            Long.parseLong(args[3]),
            1,
            Integer.parseInt(args[4]),
            Integer.parseInt(args[5]),
            Integer.parseInt(args[6]),
            args[7].equals("1"));
    rounds = Integer.parseInt(args[8]);
  }

  /** Joins, runs, and ends the process with whatever threads c10d has left. */
  public static void main(String[] args) {
    boolean nccl = args[1].equals("nccl");
    RankEnvironment environment = RankEnvironment.ofProcess();
    WorldOptions options =
        WorldOptions.DEFAULTS
            .withTransport(nccl ? Transport.NCCL : Transport.GLOO)
            .withTimeout(Duration.ofSeconds(args[0].equals("death") ? 10 : 120));
    if (!args[1].equals("gloo")) {
      torch_cuda.set_device((byte) (environment.localRank() % torch_cuda.device_count()));
    }
    World world = World.join(environment, options);
    SequenceSpeed speed = new SequenceSpeed(world, args);
    if (args[0].equals("death")) {
      speed.death();
    } else {
      speed.all();
      world.barrier();
    }
    System.out.flush();
    Runtime.getRuntime().halt(0);
  }

  private void all() {
    for (SequenceMesh mesh : CasesRank.meshes(world.size())) {
      for (KeyExchange keys : KeyExchange.values()) {
        if (mesh.ring() > 1 || keys == KeyExchange.RING) {
          run(mesh, keys);
        }
      }
    }
  }

  private int cudaDevice() {
    return switch (transport) {
      case "gloo" -> -1;
      case "staged" -> world.environment().localRank() % torch_cuda.device_count();
      default -> world.environment().localRank();
    };
  }

  private SequenceLayout layout(SequenceMesh mesh) {
    CausalMask mask = problem.causal() ? CausalMask.TOP_LEFT : CausalMask.NONE;
    return SequenceLayout.of(problem.tokens(), mesh, mask).withKeyTile(128);
  }

  private SequenceAttention attention(SequenceLayout layout, KeyExchange keys) {
    return SequenceAttention.builder(world, layout)
        .heads(problem.heads(), problem.kvHeads(), problem.headDim(), type())
        .options(AttentionOptions.builder().backend(backend).build())
        .keyExchange(keys)
        .cudaDevice(cudaDevice())
        .build();
  }

  private DType type() {
    return cudaDevice() < 0 ? DType.FLOAT32 : DType.FLOAT16;
  }

  @SuppressWarnings("try") // the scope is there to be closed
  private void run(SequenceMesh mesh, KeyExchange keys) {
    SequenceLayout layout = layout(mesh);
    try (PointerScope scope = new PointerScope();
        SequenceAttention attention = attention(layout, keys)) {
      Tensor[] whole = whole();
      Tensor[] mine = new Tensor[3];
      for (int i = 0; i < 3; i++) {
        mine[i] = layout.shard(whole[i], 2, world.rank());
      }
      double[] millis = new double[rounds];
      Tensor o = null;
      for (int round = -WARM_UP; round < rounds; round++) {
        world.barrier();
        long start = System.nanoTime();
        if (o != null) {
          o.close();
        }
        o = attention.attend(mine[0], mine[1], mine[2]);
        synchronize();
        if (round >= 0) {
          millis[round] = (System.nanoTime() - start) / 1e6;
        }
      }
      report(mesh, keys, slowest(millis), error(o, layout, whole));
    }
  }

  private void synchronize() {
    if (cudaDevice() >= 0) {
      torch_cuda.device_synchronize();
    }
  }

  /** q, k and v, the same on all ranks. */
  private Tensor[] whole() {
    torch.manual_seed(3);
    Tensor[] all = new Tensor[3];
    for (int i = 0; i < 3; i++) {
      int heads = i == 0 ? problem.heads() : problem.kvHeads();
      all[i] = Tensors.empty(type(), cudaDevice(), 1, heads, problem.tokens(), problem.headDim());
      for (int head = 0;
          head < heads;
          head++) { // one at a time: a million tokens are 16 GB in FP32
        try (Tensor host = torch.randn(problem.tokens(), problem.headDim());
            Tensor target = all[i].select(1, head).select(0, 0)) {
          target.copy_(host);
        }
      }
    }
    return all;
  }

  /** For each round the time of the rank that took the longest; then the median and the least. */
  private double[] slowest(double[] millis) {
    double[] most = millis.clone();
    String mine = Arrays.toString(millis).replaceAll("[\\[\\]]", "");
    for (String other : world.texts("times", mine)) {
      String[] cells = other.split(", ");
      for (int i = 0; i < most.length; i++) {
        most[i] = Math.max(most[i], Double.parseDouble(cells[i]));
      }
    }
    Arrays.sort(most);
    return new double[] {most[most.length / 2], most[0]};
  }

  /** The relative L1 error against one process, of the worst rank; from PyTorch's own attention. */
  private double error(Tensor o, SequenceLayout layout, Tensor[] whole) {
    if (problem.tokens() > MOST_CHECKED) {
      return Double.NaN;
    }
    LongOptional heads = new LongOptional(1);
    int group = problem.heads() / problem.kvHeads();
    Tensor wanted =
        layout.shard(
            torch.scaled_dot_product_attention(
                whole[0],
                whole[1].repeat_interleave(group, heads, new LongOptional()),
                whole[2].repeat_interleave(group, heads, new LongOptional()),
                new TensorOptional(),
                0,
                problem.causal(),
                new DoubleOptional(),
                false),
            2,
            world.rank());
    double own = 0;
    if (o.numel() > 0) {
      Tensor difference = o.to(torch.ScalarType.Float).sub(wanted.to(torch.ScalarType.Float));
      own =
          difference.abs().sum().item_double()
              / wanted.to(torch.ScalarType.Float).abs().sum().item_double();
    }
    List<String> all = world.texts("errors", Double.toString(own));
    return all.stream().mapToDouble(Double::parseDouble).max().orElseThrow();
  }

  private void report(SequenceMesh mesh, KeyExchange keys, double[] millis, double error) {
    if (world.rank() == 0) {
      System.out.printf(
          Locale.ROOT,
          "{\"what\": \"speed\", \"transport\": \"%s\", \"backend\": \"%s\", \"ranks\": %d,"
              + " \"ring\": %d, \"ulysses\": %d, \"keys\": \"%s\", \"tokens\": %d, \"heads\": %d,"
              + " \"kv_heads\": %d, \"head_dim\": %d, \"causal\": %d, \"ms\": %.3f, \"ms_least\":"
              + " %.3f, \"error\": %s, \"model_ms\": %.3f}%n",
          transport,
          backend.name().toLowerCase(Locale.ROOT),
          world.size(),
          mesh.ring(),
          mesh.ulysses(),
          keys.name().toLowerCase(Locale.ROOT),
          problem.tokens(),
          problem.heads(),
          problem.kvHeads(),
          problem.headDim(),
          problem.causal() ? 1 : 0,
          millis[0],
          millis[1],
          Double.isNaN(error) ? "null" : String.format(Locale.ROOT, "%.6g", error),
          SequenceCost.of(mesh, Cluster.H200, problem).total() * 1e3);
    }
  }

  /** The last rank ends between two calls: what the others are told, and after how long. */
  private void death() {
    SequenceLayout layout = layout(SequenceMesh.of(1, world.size()));
    try (SequenceAttention attention = attention(layout, KeyExchange.RING)) {
      Tensor[] whole = whole();
      Tensor[] mine = new Tensor[3];
      for (int i = 0; i < 3; i++) {
        mine[i] = layout.shard(whole[i], 2, world.rank());
      }
      attention.attend(mine[0], mine[1], mine[2]).close();
      synchronize();
      world.barrier();
      if (world.rank() == world.size() - 1) {
        Runtime.getRuntime().halt(9);
      }
      long start = System.nanoTime();
      try {
        attention.attend(mine[0], mine[1], mine[2]).close();
        synchronize();
        world.barrier();
        System.out.println("{\"what\": \"death\", \"kind\": \"none\"}");
      } catch (RankException e) {
        System.out.printf(
            Locale.ROOT,
            "{\"what\": \"death\", \"transport\": \"%s\", \"ranks\": %d, \"rank\": %d, \"kind\":"
                + " \"%s\", \"peer\": %d, \"ms\": %d}%n",
            transport,
            world.size(),
            world.rank(),
            e.kind(),
            e.peer(),
            (System.nanoTime() - start) / 1_000_000);
      }
    }
  }
}
