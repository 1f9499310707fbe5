package org.attn4j.distributed;

import java.time.Duration;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import org.attn4j.AttentionOptions;
import org.attn4j.CausalMask;
import org.attn4j.distributed.Trial.Shape;
import org.attn4j.distributed.WorldOptions.Transport;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch_cuda;

/**
 * A rank of bench/distributed_results.py, which see. Arguments: a section, {@code speed}, {@code
 * death}, {@code connect}, {@code shards}, {@code overlap} or {@code graph}; the transport, {@code
 * gloo}, {@code staged} (CUDA tensors of one GPU over Gloo) or {@code nccl}; shapes. Prints a JSON
 * object a line: results, and what failed.
 */
public final class SequenceSpeed {
  private static final int WARM_UP = 2;
  private static final int DEATH_SECONDS = 8;
  private static final int SECONDS = 12;

  private final World world;
  private final Trial trial;

  private SequenceSpeed(World world, Trial trial) {
    this.world = world;
    this.trial = trial;
  }

  /** Joins, runs, and ends the process with whatever threads c10d has left. */
  public static void main(String[] args) {
    RankEnvironment environment = RankEnvironment.ofProcess();
    Trial trial = new Trial(args[1], environment);
    Stacks.printBefore(System.getenv("RANK_SECONDS"));
    List<Shape> shapes = Arrays.stream(args).skip(2).map(Shape::of).toList();
    int exit = 0;
    try {
      if (trial.cudaDevice() >= 0) {
        torch_cuda.set_device((byte) trial.cudaDevice());
      }
      if (args[0].equals("shards")) {
        shapes.forEach(shape -> new ShardLoop(trial, shape).run());
      } else {
        joined(args[0], trial, shapes);
      }
    } catch (RuntimeException | Error e) {
      trial.failed(args[0], "all", e);
      e.printStackTrace();
      exit = 1;
    }
    System.out.flush();
    Runtime.getRuntime().halt(exit);
  }

  static WorldOptions options(Trial trial, int seconds) {
    return WorldOptions.DEFAULTS
        .withTransport(trial.transport.equals("nccl") ? Transport.NCCL : Transport.GLOO)
        .withTimeout(Duration.ofSeconds(seconds))
        .withJoinTimeout(Duration.ofSeconds(30));
  }

  private static void joined(String section, Trial trial, List<Shape> shapes) {
    int seconds = section.equals("death") ? DEATH_SECONDS : SECONDS;
    World world = World.join(trial.environment, options(trial, seconds));
    SequenceSpeed speed = new SequenceSpeed(world, trial);
    switch (section) {
      case "speed" -> shapes.forEach(speed::all);
      case "death" -> speed.death(shapes.get(0));
      case "connect" -> new NcclCheck(world, trial).run();
      case "overlap" -> shapes.forEach(shape -> new OverlapCheck(world, trial, shape).overlap());
      case "graph" -> shapes.forEach(shape -> new OverlapCheck(world, trial, shape).graph());
      default -> throw new IllegalArgumentException("unknown section " + section);
    }
    if (world.loss() == null && section.equals("speed")) {
      world.barrier();
    }
    world.close(); // exit() pulls away what the watchdog of an open group reads
  }

  /**
   * Ulysses first, then rings, then what gathers keys: where one hangs, those before are printed.
   */
  private void all(Shape shape) {
    List<SequenceMesh> meshes =
        CasesRank.meshes(world.size()).stream()
            .sorted(Comparator.comparingInt(SequenceMesh::ring))
            .toList();
    for (KeyExchange keys : new KeyExchange[] {KeyExchange.RING, KeyExchange.ALL_GATHER}) {
      for (SequenceMesh mesh : meshes) {
        if (world.loss() == null && (mesh.ring() > 1 || keys == KeyExchange.RING)) {
          try {
            run(shape, mesh, keys);
          } catch (RuntimeException e) {
            trial.failed("speed", shape + " " + mesh + " " + keys, e);
          }
        }
      }
    }
  }

  static SequenceLayout layout(Shape shape, SequenceMesh mesh) {
    CausalMask mask = shape.problem().causal() ? CausalMask.TOP_LEFT : CausalMask.NONE;
    return SequenceLayout.of(shape.problem().tokens(), mesh, mask).withKeyTile(128);
  }

  static SequenceAttention attention(
      World world, Trial trial, Shape shape, SequenceLayout layout, KeyExchange keys) {
    SequenceProblem problem = shape.problem();
    return SequenceAttention.builder(world, layout)
        .heads(problem.heads(), problem.kvHeads(), problem.headDim(), trial.type())
        .options(AttentionOptions.builder().backend(shape.backend()).build())
        .keyExchange(keys)
        .cudaDevice(trial.cudaDevice())
        .build();
  }

  static Tensor[] shards(Tensor[] whole, SequenceLayout layout, int rank) {
    return Arrays.stream(whole).map(t -> layout.shard(t, 2, rank)).toArray(Tensor[]::new);
  }

  @SuppressWarnings("try") // the scope is there to be closed
  private void run(Shape shape, SequenceMesh mesh, KeyExchange keys) {
    SequenceLayout layout = layout(shape, mesh);
    try (PointerScope scope = new PointerScope();
        SequenceAttention attention = attention(world, trial, shape, layout, keys)) {
      Tensor[] whole = trial.whole(shape.problem());
      Tensor[] mine = shards(whole, layout, world.rank());
      double[] millis = new double[shape.rounds()];
      Tensor o = null;
      trial.synchronize();
      for (int round = -WARM_UP; round < shape.rounds(); round++) {
        world.barrier();
        long start = System.nanoTime();
        if (o != null) {
          o.close();
        }
        o = attention.attend(mine[0], mine[1], mine[2]);
        trial.synchronize();
        if (round >= 0) {
          millis[round] = (System.nanoTime() - start) / 1e6;
        }
      }
      double error = o.numel() == 0 ? 0 : Trial.error(o, whole, tokens(layout), layout.isCausal());
      report(shape, mesh, keys, slowest(millis), worst("errors", error));
    }
  }

  private long[] tokens(SequenceLayout layout) {
    return layout.ranges(world.rank()).stream()
        .flatMapToLong(range -> java.util.stream.LongStream.range(range.from(), range.to()))
        .toArray();
  }

  private double worst(String what, double mine) {
    return world.texts(what, Double.toString(mine)).stream()
        .mapToDouble(Double::parseDouble)
        .max()
        .orElseThrow();
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

  private void report(
      Shape shape, SequenceMesh mesh, KeyExchange keys, double[] millis, double error) {
    if (world.rank() == 0) {
      SequenceProblem problem = shape.problem();
      double model = SequenceCost.of(mesh, Cluster.H200, problem).total() * 1e3;
      Trial.print(
          "what", "speed",
          "transport", trial.transport,
          "backend", shape.backend().name().toLowerCase(Locale.ROOT),
          "ranks", world.size(),
          "ring", mesh.ring(),
          "ulysses", mesh.ulysses(),
          "keys", keys.name().toLowerCase(Locale.ROOT),
          "tokens", problem.tokens(),
          "heads", problem.heads(),
          "kv_heads", problem.kvHeads(),
          "head_dim", problem.headDim(),
          "causal", problem.causal() ? 1 : 0,
          "ms", millis[0],
          "ms_least", millis[1],
          "error", error,
          "model_ms", model);
    }
  }

  /** The last rank ends between two calls: what the others are told, after how long, and then. */
  private void death(Shape shape) {
    SequenceLayout layout = layout(shape, SequenceMesh.of(1, world.size()));
    SequenceAttention attention = attention(world, trial, shape, layout, KeyExchange.RING);
    Tensor[] mine = shards(trial.whole(shape.problem()), layout, world.rank());
    attention.attend(mine[0], mine[1], mine[2]).close();
    trial.synchronize();
    world.barrier();
    if (world.rank() == world.size() - 1) {
      kill();
    }
    long start = System.nanoTime();
    String kind = "none";
    int peer = -1;
    String sentence = "";
    try {
      attention.attend(mine[0], mine[1], mine[2]).close();
      trial.synchronize();
      world.barrier();
    } catch (RankException e) {
      kind = e.kind().name();
      peer = e.peer();
      sentence = e.getMessage();
    }
    long millis = (System.nanoTime() - start) / 1_000_000;
    Trial.print(
        "what",
        "death",
        "transport",
        trial.transport,
        "ranks",
        world.size(),
        "rank",
        world.rank(),
        "kind",
        kind,
        "peer",
        peer,
        "ms",
        millis,
        "timeout_ms",
        DEATH_SECONDS * 1000,
        "sentence",
        sentence);
    afterwards(attention, shape);
  }

  /** As if the system had: nothing at all runs after it. */
  private static void kill() {
    try {
      new ProcessBuilder("kill", "-9", Long.toString(ProcessHandle.current().pid()))
          .start()
          .waitFor();
    } catch (java.io.IOException | InterruptedException e) {
      Runtime.getRuntime().halt(9);
    }
  }

  /** Frees the lost world, and joins another, alone. */
  private void afterwards(SequenceAttention attention, Shape shape) {
    long start = System.nanoTime();
    attention.close();
    world.close();
    long closed = (System.nanoTime() - start) / 1_000_000;
    int port = Integer.parseInt(System.getenv("SECOND_PORT")) + world.rank();
    RankEnvironment alone =
        RankEnvironment.of(0, 1, world.environment().localRank(), 1, "127.0.0.1", port);
    try (World again = World.join(alone, options(trial, 30))) {
      boolean right = new NcclCheck(again, trial).exchangesRight(1 << 20);
      Trial.print(
          "what",
          "after death",
          "rank",
          world.rank(),
          "close_ms",
          closed,
          "new_world_ms",
          (System.nanoTime() - start) / 1_000_000 - closed,
          "right",
          right);
    }
  }
}
