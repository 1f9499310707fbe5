package org.attn4j.distributed;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import org.attn4j.AttentionOptions;
import org.attn4j.CausalMask;
import org.attn4j.CudaGraph;
import org.attn4j.CudaStream;
import org.attn4j.DType;
import org.attn4j.distributed.Exchange.Message;
import org.attn4j.distributed.Exchange.Pending;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.cuda.CUDAEvent;
import org.bytedeco.pytorch.cuda.CUDAStream;
import org.bytedeco.pytorch.global.torch_cuda;

/**
 * The sections {@code overlap}, how much messages under way slow attention down and what a ring
 * waits for them, and {@code graph}, a call captured into a CUDA graph against an eager one.
 */
final class OverlapCheck {
  private static final int REPLAYS = 1000;
  private static final long MESSAGE = 64L << 20; // bytes

  private final World world;
  private final Trial trial;
  private final Trial.Shape shape;

  OverlapCheck(World world, Trial trial, Trial.Shape shape) {
    this.world = world;
    this.trial = trial;
    this.shape = shape;
  }

  private Exchange exchange() {
    int[] ranks = new int[world.size()];
    Arrays.setAll(ranks, i -> i);
    return world.exchange(ranks);
  }

  /** One ring step's attention: this rank's queries, one block of keys, all heads. */
  @SuppressWarnings("try") // the scope is there to be closed
  void overlap() {
    SequenceProblem problem = shape.problem();
    try (PointerScope scope = new PointerScope()) {
      SequenceLayout layout = SequenceSpeed.layout(shape, SequenceMesh.of(world.size(), 1));
      Tensor[] mine =
          Arrays.stream(SequenceSpeed.shards(trial.whole(problem), layout, world.rank()))
              .map(t -> t.permute(2, 0, 1, 3))
              .toArray(Tensor[]::new);
      LocalAttention attention =
          new LocalAttention(
              new HeadSplit(problem.heads(), problem.kvHeads(), 1),
              AttentionOptions.builder().backend(shape.backend()).build(),
              trial.cudaDevice());
      Tensor o = Tensors.empty(trial.type(), trial.cudaDevice(), mine[0].shape());
      Runnable step = () -> attention.run(mine[0], 0, mine[1], mine[2], o, null, CausalMask.NONE);
      long block = (long) most(2.0 * mine[1].numel() * mine[1].element_size());
      double alone = median(step, 0, MESSAGE);
      double ring = median(step, 1, block);
      int many = (int) Math.max(1, Math.ceil(1.5 * most(alone) * 400e6 / MESSAGE));
      double always = median(step, many, MESSAGE);
      Trial.print(
          "what",
          "overlap",
          "rank",
          world.rank(),
          "backend",
          shape.backend().name().toLowerCase(Locale.ROOT),
          "tokens",
          problem.tokens(),
          "heads",
          problem.heads(),
          "step_ms",
          alone,
          "step_ms_beside_one_block",
          ring,
          "block_bytes",
          block,
          "step_ms_beside_messages",
          always,
          "messages",
          many,
          "message_bytes",
          MESSAGE);
      ringWaiting(attention, mine);
    } catch (RuntimeException e) {
      trial.failed("overlap", shape.toString(), e);
    }
  }

  /** The largest of all ranks' numbers: they send as many messages, of as many bytes. */
  private double most(double mine) {
    return world.texts("sizes", Double.toString(mine)).stream()
        .mapToDouble(Double::parseDouble)
        .max()
        .orElseThrow();
  }

  /** GPU time of the step, with messages posted before it and joined after it. */
  @SuppressWarnings("try") // the scope is there to be closed
  private double median(Runnable step, int messages, long bytes) {
    Exchange exchange = exchange();
    Tensor send = Tensors.bytes(bytes, trial.cudaDevice());
    Tensor receive = Tensors.bytes(bytes, trial.cudaDevice());
    send.fill_(new Scalar(1));
    Message to = new Message((world.rank() + 1) % world.size(), send);
    Message from = new Message(Math.floorMod(world.rank() - 1, world.size()), receive);
    double[] times = new double[shape.rounds()];
    for (int round = -2; round < shape.rounds(); round++) {
      trial.synchronize();
      world.barrier();
      try (PointerScope one = new PointerScope()) {
        CUDAStream current = torch_cuda.getCurrentCUDAStream((byte) trial.cudaDevice());
        CUDAEvent start = new CUDAEvent(0);
        CUDAEvent end = new CUDAEvent(0);
        List<Pending> pending = new ArrayList<>();
        for (int i = 0; i < messages; i++) {
          pending.add(exchange.sendReceive(List.of(to), List.of(from)));
        }
        start.record(current);
        step.run();
        end.record(current);
        pending.forEach(Pending::join);
        trial.synchronize();
        if (round >= 0) {
          times[round] = start.elapsed_time(end);
        }
      }
    }
    send.close();
    receive.close();
    Arrays.sort(times);
    return times[times.length / 2];
  }

  /** The whole ring, and the same computation without messages. */
  @SuppressWarnings("try") // the scope is there to be closed
  private void ringWaiting(LocalAttention attention, Tensor[] mine) {
    SequenceLayout layout = SequenceSpeed.layout(shape, SequenceMesh.of(world.size(), 1));
    try (SequenceAttention ring =
        SequenceSpeed.attention(world, trial, shape, layout, KeyExchange.RING)) {
      Tensor[] heads = Arrays.stream(mine).map(t -> t.permute(1, 2, 0, 3)).toArray(Tensor[]::new);
      double with = together(() -> ring.attend(heads[0], heads[1], heads[2]).close());
      int cuda = trial.cudaDevice();
      Tensor output = Tensors.empty(DType.FLOAT32, cuda, mine[0].shape());
      Tensor lse =
          Tensors.empty(DType.FLOAT32, cuda, mine[0].size(1), mine[0].size(2), mine[0].size(0));
      Partials partials = new Partials(attention, output, lse, trial.type(), cuda);
      double without = together(() -> steps(partials, mine));
      Trial.print(
          "what",
          "ring waiting",
          "rank",
          world.rank(),
          "backend",
          shape.backend().name().toLowerCase(Locale.ROOT),
          "tokens",
          shape.problem().tokens(),
          "ring_ms",
          with,
          "without_messages_ms",
          without,
          "exposed_share_of_a_step",
          (with - without) / (world.size() - 1) / (without / world.size()));
    }
  }

  /** As RingLoop does, with its own block in place of those that come. */
  @SuppressWarnings("try") // the scope is there to be closed
  private void steps(Partials partials, Tensor[] mine) {
    try (PointerScope scope = new PointerScope()) {
      Tensor[] copies = {mine[1].contiguous(), mine[2].contiguous()};
      Tensor o = Tensors.empty(trial.type(), trial.cudaDevice(), mine[0].shape());
      partials.first(mine[0], 0, copies[0], copies[1], CausalMask.NONE);
      for (int step = 1; step < world.size(); step++) {
        partials.add(mine[0], 0, 0, copies[0], copies[1], step + 1 == world.size() ? o : null);
      }
      partials.finish(o);
    }
  }

  private double together(Runnable call) {
    double[] times = new double[shape.rounds()];
    for (int round = -2; round < shape.rounds(); round++) {
      trial.synchronize();
      world.barrier();
      double millis = trial.millis(call);
      if (round >= 0) {
        times[round] = millis;
      }
    }
    Arrays.sort(times);
    return times[times.length / 2];
  }

  /** A Ulysses call: warm, captured on a stream of its own, replayed with other numbers. */
  @SuppressWarnings("try") // the scope is there to be closed
  void graph() {
    SequenceLayout layout = SequenceSpeed.layout(shape, SequenceMesh.of(1, world.size()));
    int device = trial.cudaDevice();
    try (PointerScope scope = new PointerScope();
        SequenceAttention attention =
            SequenceSpeed.attention(world, trial, shape, layout, KeyExchange.RING)) {
      Tensor[] mine = SequenceSpeed.shards(trial.whole(shape.problem()), layout, world.rank());
      CUDAStream side = torch_cuda.getStreamFromPool(false, (byte) device);
      torch_cuda.setCurrentCUDAStream(side);
      for (int i = 0; i < 3; i++) {
        attention.attend(mine[0], mine[1], mine[2]).close();
      }
      trial.synchronize();
      world.barrier();
      Tensor[] o = new Tensor[1];
      CudaStream stream = CudaStream.wrap(device, side.stream());
      try (CudaGraph graph =
          CudaGraph.capture(stream, () -> o[0] = attention.attend(mine[0], mine[1], mine[2]))) {
        world.barrier();
        replay(attention, mine, o[0], () -> graph.launch(stream));
      }
    } catch (RuntimeException | Error e) {
      trial.failed("graph", shape.toString(), e);
    }
  }

  private void replay(SequenceAttention attention, Tensor[] mine, Tensor o, Runnable launch) {
    int wrong = 0;
    for (int i = 0; i < 5; i++) { // other numbers each time, in the same memory
      mine[0].copy_(mine[0].mul(new Scalar(-0.9)));
      launch.run();
      Tensor eager = attention.attend(mine[0], mine[1], mine[2]);
      wrong += eager.ne(o).sum().item_double() == 0 ? 0 : 1;
      eager.close();
    }
    world.barrier();
    double replays = trial.millis(() -> times(REPLAYS, launch)) / REPLAYS;
    world.barrier();
    double calls =
        trial.millis(
                () -> times(REPLAYS, () -> attention.attend(mine[0], mine[1], mine[2]).close()))
            / REPLAYS;
    world.barrier();
    Trial.print(
        "what",
        "graph",
        "rank",
        world.rank(),
        "tokens",
        shape.problem().tokens(),
        "heads",
        shape.problem().heads(),
        "replays_that_differ_of_5",
        wrong,
        "replays",
        REPLAYS,
        "replay_ms",
        replays,
        "eager_ms",
        calls);
  }

  private static void times(int count, Runnable work) {
    for (int i = 0; i < count; i++) {
      work.run();
    }
  }
}
