package org.attn4j.distributed;

import java.util.Arrays;
import java.util.List;
import java.util.function.Supplier;
import org.attn4j.AttentionOptions;
import org.attn4j.CausalMask;
import org.attn4j.DType;
import org.attn4j.distributed.Exchange.Message;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/**
 * The section {@code connect}: messages arrive whole and in order, the streams wait for each other
 * and the host doesn't, how fast the links are, what a call of a world costs beside attention
 * alone, and abort.
 */
final class NcclCheck {
  private static final int ROUNDS = 50;
  private static final int LARGE = 256 << 20; // bytes that go to each neighbour

  private final World world;
  private final Trial trial;

  NcclCheck(World world, Trial trial) {
    this.world = world;
    this.trial = trial;
  }

  void run() {
    step("first exchange", () -> exchangesRight(1 << 20));
    step("joined streams", this::streamsJoin);
    step("links", this::links);
    if (world.size() == 1) {
      step("cost of a world", this::costOfWorld);
    }
    if (world.size() > 1) {
      step("abort", this::abort);
    }
  }

  private void step(String name, Supplier<Object> work) {
    if (world.loss() != null) {
      return;
    }
    long start = System.nanoTime();
    try {
      Object result = work.get();
      Trial.print(
          "what",
          "connect",
          "transport",
          trial.transport,
          "ranks",
          world.size(),
          "rank",
          world.rank(),
          "step",
          name,
          "result",
          result,
          "ms",
          (System.nanoTime() - start) / 1e6);
    } catch (RuntimeException | Error e) {
      trial.failed("connect", name, e);
    }
  }

  private int[] everybody() {
    int[] ranks = new int[world.size()];
    Arrays.setAll(ranks, i -> i);
    return ranks;
  }

  private long[] equalParts(long elements) {
    long[] counts = new long[world.size()];
    Arrays.fill(counts, elements / world.size());
    return counts;
  }

  private Tensor vector(long elements) {
    return Tensors.empty(DType.FLOAT32, trial.cudaDevice(), elements);
  }

  /** An all-to-all and a shift to the next rank, each with numbers that name their sender. */
  @SuppressWarnings("try") // the scope is there to be closed
  boolean exchangesRight(long elements) {
    Exchange exchange = world.exchange(everybody());
    try (PointerScope scope = new PointerScope()) {
      int me = world.rank();
      int size = world.size();
      Tensor send = vector(elements);
      send.fill_(new Scalar(1 + me));
      Tensor receive = vector(elements);
      long[] counts = equalParts(elements);
      exchange.allToAll(receive, send, counts, counts).join();
      boolean right = true;
      for (int from = 0; from < size; from++) {
        Tensor part = receive.narrow(0, from * counts[0], counts[0]);
        right &= part.ne(new Scalar(1 + from)).sum().item_double() == 0;
      }
      int next = (me + 1) % size;
      int before = Math.floorMod(me - 1, size);
      if (size > 1) {
        exchange
            .sendReceive(List.of(new Message(next, send)), List.of(new Message(before, receive)))
            .join();
        right &= receive.ne(new Scalar(1 + before)).sum().item_double() == 0;
      }
      return right;
    }
  }

  /**
   * Numbers that a long computation on the current stream makes are sent right behind it, and read
   * by the next one: wrong if a stream did not wait. Says how long the host took to enqueue.
   */
  @SuppressWarnings("try") // the scope is there to be closed
  private Object streamsJoin() {
    Exchange exchange = world.exchange(everybody());
    try (PointerScope scope = new PointerScope()) {
      long elements = 1 << 20;
      int size = trial.cudaDevice() < 0 ? 256 : 8192;
      Tensor busy = Tensors.empty(trial.type(), trial.cudaDevice(), size, size);
      busy.fill_(new Scalar(0));
      Tensor wrong = vector(1);
      wrong.fill_(new Scalar(0));
      Tensor send = vector(elements);
      Tensor receive = vector(elements);
      long[] counts = equalParts(elements);
      trial.synchronize();
      long start = System.nanoTime();
      for (int round = 0; round < ROUNDS; round++) {
        try (PointerScope one = new PointerScope()) {
          Tensor late = busy.matmul(busy).matmul(busy).sum(); // 0, some time from now
          send.fill_(new Scalar(world.rank() + 10 * round));
          send.add_(late.to(send.scalar_type()));
          exchange.allToAll(receive, send, counts, counts).join();
          Tensor part = receive.narrow(0, (world.size() - 1) * counts[0], counts[0]);
          wrong.add_(part.ne(new Scalar(world.size() - 1 + 10 * round)).sum());
        }
      }
      double enqueued = (System.nanoTime() - start) / 1e6;
      trial.synchronize();
      double done = (System.nanoTime() - start) / 1e6;
      return String.format(
          "%.0f wrong numbers of %d; host %.1f ms to enqueue %d rounds that took %.1f ms",
          wrong.item_double(), ROUNDS * elements, enqueued, ROUNDS, done);
    }
  }

  @SuppressWarnings("try") // the scope is there to be closed
  private Object links() {
    Exchange exchange = world.exchange(everybody());
    try (PointerScope scope = new PointerScope()) {
      long elements = (trial.cudaDevice() < 0 ? 4 << 20 : LARGE) / 4;
      Tensor send = vector(elements * world.size());
      Tensor receive = vector(elements * world.size());
      send.fill_(new Scalar(1));
      long[] counts = equalParts(elements * world.size());
      double all = trial.median(7, () -> exchange.allToAll(receive, send, counts, counts).join());
      double small = smallExchange(exchange);
      double shift = Double.NaN;
      if (world.size() > 1) {
        Message to = new Message((world.rank() + 1) % world.size(), send.narrow(0, 0, elements));
        Message from =
            new Message(
                Math.floorMod(world.rank() - 1, world.size()), receive.narrow(0, 0, elements));
        shift = trial.median(7, () -> exchange.sendReceive(List.of(to), List.of(from)).join());
      }
      double sent = elements * 4.0 * (world.size() - 1);
      return String.format(
          "all-to-all %.3f ms, %.1f GB/s out of this GPU; shift %.3f ms, %.1f GB/s; all-to-all of 16 KB"
              + " %.1f us",
          all, sent / all / 1e6, shift, elements * 4.0 / shift / 1e6, small * 1e3);
    }
  }

  private double smallExchange(Exchange exchange) {
    Tensor send = vector(4096);
    Tensor receive = vector(4096);
    send.fill_(new Scalar(1));
    long[] counts = equalParts(4096);
    return trial.median(101, () -> exchange.allToAll(receive, send, counts, counts).join());
  }

  /**
   * A world of one rank beside attention alone: host time to enqueue, and until the GPU is done.
   */
  @SuppressWarnings("try") // the scope is there to be closed
  private Object costOfWorld() {
    String shapeText = trial.cudaDevice() < 0 ? "auto:8:8:8:128:0:1" : "exact:1024:8:8:128:0:1";
    SequenceProblem problem = Trial.Shape.of(shapeText).problem();
    Trial.Shape shape = Trial.Shape.of(shapeText);
    SequenceLayout layout = SequenceSpeed.layout(shape, SequenceMesh.of(1, 1));
    try (PointerScope scope = new PointerScope();
        SequenceAttention attention =
            SequenceSpeed.attention(world, trial, shape, layout, KeyExchange.RING)) {
      Tensor[] t = trial.whole(problem);
      Tensor[] views = Arrays.stream(t).map(one -> one.permute(2, 0, 1, 3)).toArray(Tensor[]::new);
      LocalAttention local =
          new LocalAttention(
              new HeadSplit(8, 8, 1),
              AttentionOptions.builder().backend(shape.backend()).build(),
              trial.cudaDevice());
      DType type = trial.type();
      int device = trial.cudaDevice();
      long tokens = problem.tokens();
      Runnable alone =
          () -> {
            Tensor o = Tensors.empty(type, device, 1, 8, tokens, 128);
            local.run(
                views[0], 0, views[1], views[2], o.permute(2, 0, 1, 3), null, CausalMask.NONE);
            o.close();
          };
      Runnable world1 = () -> attention.attend(t[0], t[1], t[2]).close();
      double[] first = microseconds(alone);
      double[] second = microseconds(world1);
      double[] third = microseconds(alone);
      double[] fourth = microseconds(world1);
      return String.format(
          "us a call, host then with the GPU: alone %.1f %.1f and %.1f %.1f; world of one %.1f %.1f"
              + " and %.1f %.1f",
          first[0], first[1], third[0], third[1], second[0], second[1], fourth[0], fourth[1]);
    }
  }

  /** Of 2,000 calls after 500: the host's time, and the time until all are done, each. */
  @SuppressWarnings("try") // the scope is there to be closed
  private double[] microseconds(Runnable call) {
    double host = 0;
    double all = 0;
    for (int calls : new int[] {500, 2000}) {
      trial.synchronize();
      long start = System.nanoTime();
      for (int i = 0; i < calls; i++) {
        try (PointerScope one = new PointerScope()) {
          call.run();
        }
      }
      host = (System.nanoTime() - start) / 1e3 / calls;
      trial.synchronize();
      all = (System.nanoTime() - start) / 1e3 / calls;
    }
    return new double[] {host, all};
  }

  /** Rank 0 gives up; all join anew, on another port, and exchange again. */
  private Object abort() {
    world.barrier();
    if (world.rank() == 0) {
      world.abort("to see what the others are told");
    }
    String told = "nothing";
    try {
      world.barrier();
    } catch (RankException e) {
      told = e.kind() + ": " + e.getMessage();
    }
    long start = System.nanoTime();
    world.close();
    double closed = (System.nanoTime() - start) / 1e6;
    int port = Integer.parseInt(System.getenv("SECOND_PORT"));
    RankEnvironment e = world.environment();
    RankEnvironment other =
        RankEnvironment.of(e.rank(), e.size(), e.localRank(), e.localSize(), e.masterHost(), port);
    try (World again = World.join(other, SequenceSpeed.options(trial, 30))) {
      boolean right = new NcclCheck(again, trial).exchangesRight(1 << 20);
      again.barrier();
      return told + "; closed in " + closed + " ms; a new world is right: " + right;
    }
  }
}
