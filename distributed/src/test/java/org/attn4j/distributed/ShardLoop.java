package org.attn4j.distributed;

import java.util.Locale;
import java.util.stream.LongStream;
import org.attn4j.AttentionOptions;
import org.attn4j.CausalMask;
import org.attn4j.DType;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;

/**
 * The section {@code shards}: on one device, attention to the keys of 2, 4 and 8 shards one after
 * the other, merged, against one call; as one rank of a ring of 8 computes it, and with all
 * queries.
 */
final class ShardLoop {
  private static final int RING = 8;
  private static final int TILE = 128;

  private final Trial trial;
  private final Trial.Shape shape;
  private final LocalAttention attention;
  private final Tensor[] whole;
  private final Tensor k;
  private final Tensor v;

  ShardLoop(Trial trial, Trial.Shape shape) {
    this.trial = trial;
    this.shape = shape;
    SequenceProblem problem = shape.problem();
    attention =
        new LocalAttention(
            new HeadSplit(problem.heads(), problem.kvHeads(), 1),
            AttentionOptions.builder().backend(shape.backend()).build(),
            trial.cudaDevice());
    whole = trial.whole(problem);
    k = whole[1].permute(2, 0, 1, 3);
    v = whole[2].permute(2, 0, 1, 3);
  }

  void run() {
    long tokens = shape.problem().tokens();
    for (long queries : new long[] {tokens / RING, tokens}) {
      try {
        queries(queries);
      } catch (RuntimeException e) {
        trial.failed("shards", queries + " queries", e);
      }
    }
  }

  @SuppressWarnings("try") // the scope is there to be closed
  private void queries(long count) {
    try (PointerScope scope = new PointerScope()) {
      Tensor q = whole[0].permute(2, 0, 1, 3).narrow(0, 0, count);
      Tensor o = Tensors.empty(trial.type(), trial.cudaDevice(), q.shape());
      double one =
          trial.median(shape.rounds(), () -> attention.run(q, 0, k, v, o, null, CausalMask.NONE));
      double errorOfOne = error(o);
      for (int shards : new int[] {2, 4, RING}) {
        try (PointerScope inner = new PointerScope()) {
          loop(q, o, shards, one, errorOfOne);
        }
      }
    }
  }

  private double error(Tensor o) {
    long[] tokens = LongStream.range(0, o.size(0)).toArray();
    return Trial.error(o.permute(1, 2, 0, 3), whole, tokens, false);
  }

  private long first(int shard, int shards) {
    long tokens = shape.problem().tokens();
    return shard == shards ? tokens : shard * tokens / shards / TILE * TILE;
  }

  private void loop(Tensor q, Tensor o, int shards, double one, double errorOfOne) {
    int cuda = trial.cudaDevice();
    Tensor output = Tensors.empty(DType.FLOAT32, cuda, q.shape());
    Tensor lse = Tensors.empty(DType.FLOAT32, cuda, q.size(1), q.size(2), q.size(0));
    Partials partials = new Partials(attention, output, lse, trial.type(), cuda);
    double merged = trial.median(shape.rounds(), () -> merged(partials, q, o, shards));
    double error = error(o);
    Tensor part = Tensors.empty(trial.type(), cuda, q.shape());
    Tensor partLse = Tensors.empty(DType.FLOAT32, cuda, q.size(1), q.size(2), q.size(0));
    double parts = trial.median(shape.rounds(), () -> parts(q, part, partLse, shards));
    double merge = trial.median(shape.rounds(), () -> merge(output, lse, part, partLse));
    double bytes = q.numel() * (4.0 + 4 + part.element_size()) + 3.0 * lse.numel() * 4;
    Trial.print(
        "what",
        "shards",
        "backend",
        shape.backend().name().toLowerCase(Locale.ROOT),
        "tokens",
        shape.problem().tokens(),
        "heads",
        shape.problem().heads(),
        "queries",
        q.size(0),
        "shards",
        shards,
        "one_call_ms",
        one,
        "loop_ms",
        merged,
        "share_of_one_call",
        one / merged,
        "attention_alone_ms",
        parts,
        "a_merge_ms",
        merge,
        "merge_TB_s",
        bytes / merge / 1e9,
        "error_of_one_call",
        errorOfOne,
        "error",
        error,
        "error_ratio",
        error / errorOfOne);
  }

  private void merge(Tensor output, Tensor lse, Tensor part, Tensor partLse) {
    if (trial.cudaDevice() < 0) {
      Partials.merge(output, lse, part, partLse);
    } else {
      new KernelMerge(trial.cudaDevice()).add(output, lse, part, partLse, null);
    }
  }

  @SuppressWarnings("try") // the scope is there to be closed
  private void merged(Partials partials, Tensor q, Tensor o, int shards) {
    try (PointerScope scope = new PointerScope()) {
      for (int shard = 0; shard < shards; shard++) {
        long from = first(shard, shards);
        long count = first(shard + 1, shards) - from;
        Tensor keys = k.narrow(0, from, count);
        Tensor values = v.narrow(0, from, count);
        if (shard == 0) {
          partials.first(q, 0, keys, values, CausalMask.NONE);
        } else {
          partials.add(q, 0, 0, keys, values, shard + 1 == shards ? o : null);
        }
      }
      partials.finish(o);
    }
  }

  @SuppressWarnings("try") // the scope is there to be closed
  private void parts(Tensor q, Tensor part, Tensor partLse, int shards) {
    try (PointerScope scope = new PointerScope()) {
      for (int shard = 0; shard < shards; shard++) {
        long from = first(shard, shards);
        long count = first(shard + 1, shards) - from;
        attention.run(
            q,
            0,
            k.narrow(0, from, count),
            v.narrow(0, from, count),
            part,
            partLse,
            CausalMask.NONE);
      }
    }
  }
}
