package org.attn4j.distributed;

import java.util.List;
import org.attn4j.CausalMask;
import org.attn4j.DType;
import org.attn4j.distributed.Exchange.Message;
import org.attn4j.distributed.Exchange.Pending;
import org.bytedeco.pytorch.Tensor;

/**
 * Keys and values travel round the ring. A position computes its own block first, with the joint
 * tokens, then those that come; each is sent on before it is computed.
 */
final class RingLoop implements KeyLoop {
  private final Rank rank;
  private final LocalAttention attention;
  private final Exchange exchange;
  private final Tensor[] blocks = new Tensor[2];
  private final Tensor output;
  private final Tensor lse;

  RingLoop(Rank rank, LocalAttention attention, Exchange exchange) {
    this.rank = rank;
    this.attention = attention;
    this.exchange = exchange;
    AttentionShape shape = rank.shape;
    long longest = rank.layout.longestPosition();
    for (int i = 0; i < Math.min(2, rank.ring() - 1); i++) {
      blocks[i] = rank.buffer(longest, shape.batch(), 2, rank.kvCount(), shape.headDim());
    }
    output =
        rank.buffer(DType.FLOAT32, rank.rows(), shape.batch(), rank.headCount(), shape.headDim());
    lse = rank.buffer(DType.FLOAT32, shape.batch(), rank.headCount(), rank.rows());
  }

  @Override
  public void attend(Tensor q, KeysValues own, Tensor o) {
    int ring = rank.ring();
    Partials partials = new Partials(attention, output, lse, rank.shape.type(), rank.cudaDevice);
    Tensor queries = partials.operand(q);
    KeysValues current = own.rows(rank.positionTokens());
    for (int step = 0; step < ring; step++) {
      KeysValues next = null;
      Pending pending = null;
      if (step + 1 < ring) {
        int comes = Math.floorMod(rank.position - step - 1, ring);
        Tensor block = blocks[step % 2].narrow(0, 0, rank.layout.positionLength(comes));
        next = KeysValues.of(block);
        pending =
            exchange.sendReceive(
                List.of(new Message((rank.position + 1) % ring, current.buffer())),
                List.of(new Message(Math.floorMod(rank.position - 1, ring), block)));
      }
      int source = Math.floorMod(rank.position - step, ring);
      compute(partials, queries, step == 0 ? own : current, source, step + 1 == ring ? o : null);
      if (pending != null) {
        pending.join();
      }
      current = next;
    }
    partials.finish(o);
  }

  /** Which of a block's keys which queries see, as calls without a mask, or with the diagonal. */
  private void compute(Partials partials, Tensor q, KeysValues block, int source, Tensor last) {
    boolean causal = rank.layout.isCausal();
    if (source == rank.position) {
      CausalMask mask = causal ? CausalMask.TOP_LEFT : CausalMask.NONE;
      partials.first(
          q, rank.firstHead(), partials.operand(block.k()), partials.operand(block.v()), mask);
      return;
    }
    long from = 0;
    long keys = block.k().size(0);
    if (causal && source < rank.position) {
      keys = rank.layout.positionRanges(source).get(0).length();
    } else if (causal) {
      if (!rank.layout.isZigzag()) {
        return; // all of them come later
      }
      from = rank.layout.positionRanges(rank.position).get(0).length();
    }
    KeysValues seen = block.rows(keys);
    partials.add(
        q, rank.firstHead(), from, partials.operand(seen.k()), partials.operand(seen.v()), last);
  }
}
