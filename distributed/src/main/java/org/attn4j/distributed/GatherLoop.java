package org.attn4j.distributed;

import java.util.ArrayList;
import java.util.List;
import org.attn4j.CausalMask;
import org.attn4j.distributed.Exchange.Pending;
import org.bytedeco.pytorch.Tensor;

/**
 * Some heads' keys and values of all positions are gathered, in the order of the sequence, the
 * joint tokens behind them; the next heads travel while these are computed.
 */
final class GatherLoop implements KeyLoop {
  private static final int GROUPS = 4;

  private final Rank rank;
  private final LocalAttention attention;
  private final Exchange exchange;
  private final List<List<TokenRange>> ranges = new ArrayList<>();
  private final Tensor[] whole = new Tensor[2];
  private final Tensor[] mine = new Tensor[2];

  GatherLoop(Rank rank, LocalAttention attention, Exchange exchange) {
    this.rank = rank;
    this.attention = attention;
    this.exchange = exchange;
    AttentionShape shape = rank.shape;
    long rows = rank.layout.tokens() + shape.joint();
    for (int position = 0; position < rank.ring(); position++) {
      ranges.add(rank.layout.positionRanges(position));
    }
    long most = 0;
    for (int group = 0; group < groups(); group++) {
      most = Math.max(most, first(group + 1) - first(group));
    }
    for (int i = 0; i < Math.min(2, groups()); i++) {
      whole[i] = rank.buffer(rows * shape.batch() * 2 * most * shape.headDim());
      mine[i] = rank.buffer(rank.positionTokens() * shape.batch() * 2 * most * shape.headDim());
    }
  }

  private int groups() {
    return Math.min(GROUPS, rank.kvCount());
  }

  private int first(int group) {
    return group * rank.kvCount() / groups();
  }

  @Override
  public void attend(Tensor q, KeysValues own, Tensor o) {
    Pending pending = groups() > 0 ? post(0, own) : null;
    for (int group = 0; group < groups(); group++) {
      pending.join();
      pending = group + 1 < groups() ? post(group + 1, own) : null;
      compute(group, q, o);
    }
  }

  private Tensor buffer(Tensor[] of, int group, long rows) {
    int heads = first(group + 1) - first(group);
    long[] sizes = {rows, rank.shape.batch(), 2, heads, rank.shape.headDim()};
    long count = rows * rank.shape.batch() * 2 * heads * rank.shape.headDim();
    return of[group % 2].narrow(0, 0, count).view(sizes);
  }

  private Tensor whole(int group) {
    return buffer(whole, group, rank.layout.tokens() + rank.shape.joint());
  }

  private Pending post(int group, KeysValues own) {
    int first = first(group);
    KeysValues heads = own.heads(first, first(group + 1) - first);
    long tokens = rank.positionTokens();
    Tensor send = buffer(mine, group, tokens);
    send.select(2, 0).copy_(heads.k().narrow(0, 0, tokens));
    send.select(2, 1).copy_(heads.v().narrow(0, 0, tokens));
    long joint = rank.shape.joint();
    if (joint > 0) {
      Tensor behind = whole(group).narrow(0, rank.layout.tokens(), joint);
      behind.select(2, 0).copy_(heads.k().narrow(0, tokens, joint));
      behind.select(2, 1).copy_(heads.v().narrow(0, tokens, joint));
    }
    return Gather.into(exchange, whole(group), send, ranges, rank.position);
  }

  /** The query heads that read this group's key heads. */
  private void compute(int group, Tensor q, Tensor o) {
    int size = rank.split.group();
    int firstKv = rank.split.firstKv(rank.member);
    int from = Math.max(rank.firstHead(), (firstKv + first(group)) * size);
    int to = Math.min(rank.firstHead() + rank.headCount(), (firstKv + first(group + 1)) * size);
    Tensor queries = q.narrow(2, from - rank.firstHead(), to - from);
    Tensor output = o.narrow(2, from - rank.firstHead(), to - from);
    KeysValues all = KeysValues.of(whole(group));
    if (!rank.layout.isCausal()) {
      attention.run(queries, from, all.k(), all.v(), output, null, CausalMask.NONE);
      return;
    }
    long passed = 0;
    for (TokenRange range : ranges.get(rank.position)) {
      // The last of these queries sees the last of these keys.
      KeysValues seen = all.rows(range.to());
      attention.run(
          queries.narrow(0, passed, range.length()),
          from,
          seen.k(),
          seen.v(),
          output.narrow(0, passed, range.length()),
          null,
          CausalMask.BOTTOM_RIGHT);
      passed += range.length();
    }
  }
}
