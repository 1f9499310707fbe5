package org.attn4j.distributed;

import java.util.ArrayList;
import java.util.List;
import org.attn4j.distributed.WorldOptions.Transport;
import org.bytedeco.pytorch.Backend;
import org.bytedeco.pytorch.LongVector;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.Work;

/**
 * Exchanges by a c10d process group. NCCL's messages go on a stream of the group's own, which waits
 * for the current stream when they are posted; the current stream waits for them when they are
 * joined. Gloo's are carried by its threads; CUDA tensors are copied to the host before and from it
 * after.
 */
final class C10dExchange implements Exchange {
  private static final int TAG = 1;
  // For tests: as if host memory were a GPU's.
  private static final boolean STAGED = Boolean.getBoolean("org.attn4j.distributed.staged");

  private final World world;
  private final Backend group;
  private final int[] ranks;
  private final int member;

  C10dExchange(World world, Backend group, int[] ranks, int member) {
    this.world = world;
    this.group = group;
    this.ranks = ranks.clone();
    this.member = member;
  }

  private boolean coalesces() {
    return world.options().transport() == Transport.NCCL;
  }

  private boolean staged(Tensor tensor) {
    return !coalesces() && (tensor.is_cuda() || STAGED);
  }

  private static Tensor onHost(Tensor tensor) {
    return tensor.is_cuda() ? tensor.cpu() : tensor.clone();
  }

  @Override
  public Pending allToAll(Tensor receive, Tensor send, long[] receiveCounts, long[] sendCounts) {
    String what = "an all-to-all of ranks " + ranks[0] + " to " + ranks[ranks.length - 1];
    world.requireHealthy(group);
    boolean staged = staged(receive);
    Tensor in = staged ? Tensors.empty(Tensors.type(receive), -1, receive.numel()) : receive;
    Tensor out = staged ? onHost(send) : send;
    // alltoall_base takes the counts away from its vectors: they serve once.
    LongVector inCounts = new LongVector(receiveCounts);
    LongVector outCounts = new LongVector(sendCounts);
    Work work = world.guarded(-1, what, () -> group.alltoall_base(in, out, inCounts, outCounts));
    return () -> {
      world.finish(work, -1, what);
      if (staged) {
        receive.copy_(in.view(receive.shape()));
      }
    };
  }

  @Override
  public Pending sendReceive(List<Message> sends, List<Message> receives) {
    List<Step> steps = new ArrayList<>();
    List<Work> works = new ArrayList<>();
    List<Runnable> copies = new ArrayList<>();
    if (coalesces()) {
      return coalesced(sends, receives);
    }
    for (Message message : receives) {
      if (message.tensor().numel() > 0) {
        steps.add(receive(message, copies));
      }
    }
    for (Message message : sends) {
      if (message.tensor().numel() > 0) {
        Tensor out = staged(message.tensor()) ? onHost(message.tensor()) : message.tensor();
        steps.add(new Step(message.member(), true, out));
      }
    }
    for (Step step : steps) {
      works.add(post(step));
    }
    return () -> {
      for (int i = 0; i < steps.size(); i++) {
        world.finish(works.get(i), ranks[steps.get(i).member()], steps.get(i).what(ranks));
      }
      copies.forEach(Runnable::run);
    };
  }

  private Step receive(Message message, List<Runnable> copies) {
    Tensor target = message.tensor();
    if (!staged(target)) {
      return new Step(message.member(), false, target);
    }
    Tensor host = Tensors.empty(Tensors.type(target), -1, target.shape());
    copies.add(() -> target.copy_(host));
    return new Step(message.member(), false, host);
  }

  /** One send or receive. */
  private record Step(int member, boolean send, Tensor tensor) {
    String what(int[] ranks) {
      return (send ? "a message to rank " : "a message from rank ") + ranks[member];
    }
  }

  private Work post(Step step) {
    TensorVector tensors = new TensorVector(step.tensor());
    int peer = step.member();
    return world.guarded(
        ranks[peer],
        step.what(ranks),
        () -> step.send() ? group.send(tensors, peer, TAG) : group.recv(tensors, peer, TAG));
  }

  /** As one group of NCCL calls: one by one they may wait for each other in a circle. */
  private Pending coalesced(List<Message> sends, List<Message> receives) {
    String what = "messages of ranks " + ranks[0] + " to " + ranks[ranks.length - 1];
    int posted = 0;
    world.requireHealthy(group);
    world.guarded(-1, what, () -> startCoalescing());
    for (Message message : receives) {
      posted += post(message, false);
    }
    for (Message message : sends) {
      posted += post(message, true);
    }
    Work work = world.guarded(-1, what, group::endCoalescing);
    return posted == 0 || work == null || work.isNull()
        ? () -> {}
        : () -> world.finish(work, -1, what);
  }

  private boolean startCoalescing() {
    group.startCoalescing();
    return true;
  }

  private int post(Message message, boolean send) {
    if (message.tensor().numel() == 0) {
      return 0;
    }
    post(new Step(message.member(), send, message.tensor()));
    return 1;
  }

  @Override
  public String toString() {
    return "member " + member + " of " + ranks.length;
  }
}
