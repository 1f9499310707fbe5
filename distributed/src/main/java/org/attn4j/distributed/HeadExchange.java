package org.attn4j.distributed;

import org.attn4j.distributed.Exchange.Pending;
import org.bytedeco.pytorch.Tensor;

/**
 * Ulysses: before attention the members of a position exchange some tokens of all heads for all
 * tokens of some heads; after it the other way round. Joint tokens, which every rank has, are
 * appended before attention; their outputs go to all members.
 *
 * <p>Tensors are views of sizes (tokens, batch, heads, headDim). What an all-to-all delivers lies
 * in memory as (tokens, batch, heads, headDim), and is read there.
 */
final class HeadExchange {
  private final Rank rank;
  private final Exchange exchange;
  private final Tensor sendQ;
  private final Tensor sendKv;
  private final Tensor queries;
  private final Tensor keysValues;
  private final Tensor sendO;
  private final Tensor receiveO;

  HeadExchange(Rank rank, Exchange exchange) {
    this.rank = rank;
    this.exchange = exchange;
    AttentionShape shape = rank.shape;
    long token = (long) shape.batch() * shape.headDim();
    long heads = 0; // replicated key heads are sent more than once
    for (int j = 0; j < rank.ulysses(); j++) {
      heads += rank.split.kvCount(j);
    }
    sendQ = rank.buffer(rank.tokens() * token * shape.heads());
    sendKv = rank.buffer(rank.tokens() * token * 2 * heads);
    queries = rank.buffer(rank.rows(), shape.batch(), rank.headCount(), shape.headDim());
    keysValues = rank.buffer(rank.rows(), shape.batch(), 2, rank.kvCount(), shape.headDim());
    long joints = (long) rank.ulysses() * shape.joint();
    sendO = rank.buffer((rank.positionTokens() + joints) * token * rank.headCount());
    receiveO = rank.buffer((rank.tokens() + shape.joint()) * token * shape.heads());
  }

  /** Both exchanges are posted before either is waited for. */
  void distribute(Tensor q, Tensor k, Tensor v) {
    HeadSplit split = rank.split;
    int members = rank.ulysses();
    long tokens = rank.tokens();
    long token = (long) rank.shape.batch() * rank.shape.headDim();
    long[] qOut = new long[members];
    long[] qIn = new long[members];
    long[] kvOut = new long[members];
    long[] kvIn = new long[members];
    long atQ = 0;
    long atKv = 0;
    for (int j = 0; j < members; j++) {
      long theirs = rank.layout.slice(rank.position, j).length();
      qOut[j] = tokens * token * split.count(j);
      qIn[j] = theirs * token * rank.headCount();
      kvOut[j] = tokens * token * 2 * split.kvCount(j);
      kvIn[j] = theirs * token * 2 * rank.kvCount();
      pack(sendQ, atQ, q, split.first(j), split.count(j));
      packKv(atKv, k, v, split.firstKv(j), split.kvCount(j));
      atQ += qOut[j];
      atKv += kvOut[j];
    }
    long rows = rank.positionTokens();
    Pending heads = exchange.allToAll(flat(queries, rows), sendQ, qIn, qOut);
    Pending keys = exchange.allToAll(flat(keysValues, rows), sendKv, kvIn, kvOut);
    heads.join();
    keys.join();
  }

  private void pack(Tensor target, long at, Tensor x, int head, int heads) {
    if (heads > 0) {
      Tensor piece = x.narrow(2, head, heads);
      target.narrow(0, at, piece.numel()).view(piece.shape()).copy_(piece);
    }
  }

  private void packKv(long at, Tensor k, Tensor v, int head, int heads) {
    if (heads > 0) {
      long[] sizes = {k.size(0), k.size(1), 2, heads, k.size(3)};
      Tensor piece =
          sendKv.narrow(0, at, 2 * k.size(0) * k.size(1) * heads * k.size(3)).view(sizes);
      piece.select(2, 0).copy_(k.narrow(2, head, heads));
      piece.select(2, 1).copy_(v.narrow(2, head, heads));
    }
  }

  private static Tensor flat(Tensor x, long rows) {
    return x.narrow(0, 0, rows).view(-1);
  }

  /** This member's heads of the joint tokens, behind the others. */
  void append(Tensor q, Tensor k, Tensor v) {
    long rows = rank.positionTokens();
    long joint = rank.shape.joint();
    int kv = rank.split.firstKv(rank.member);
    queries.narrow(0, rows, joint).copy_(q.narrow(2, rank.firstHead(), rank.headCount()));
    Tensor target = keysValues.narrow(0, rows, joint);
    target.select(2, 0).copy_(k.narrow(2, kv, rank.kvCount()));
    target.select(2, 1).copy_(v.narrow(2, kv, rank.kvCount()));
  }

  Tensor queries() {
    return queries;
  }

  KeysValues keysValues() {
    return KeysValues.of(keysValues);
  }

  /**
   * Brings the outputs home.
   *
   * @param o (rows, batch, this member's heads, headDim), contiguous
   * @param tokens written: this rank's tokens, all heads
   * @param joint written: the joint tokens, all heads; null if there are none
   */
  void collect(Tensor o, Tensor tokens, Tensor joint) {
    HeadSplit split = rank.split;
    int members = rank.ulysses();
    long extra = rank.shape.joint();
    long row = (long) rank.shape.batch() * rank.shape.headDim();
    long[] out = new long[members];
    long[] in = new long[members];
    long at = 0;
    for (int j = 0; j < members; j++) {
      TokenRange slice = rank.layout.slice(rank.position, j);
      out[j] = (slice.length() + extra) * row * rank.headCount();
      in[j] = (rank.tokens() + extra) * row * split.count(j);
      if (extra > 0) {
        Tensor piece = sendO.narrow(0, at, out[j]);
        long cut = slice.length() * row * rank.headCount();
        piece.narrow(0, 0, cut).copy_(o.narrow(0, slice.from(), slice.length()).view(-1));
        piece
            .narrow(0, cut, out[j] - cut)
            .copy_(o.narrow(0, rank.positionTokens(), extra).view(-1));
      }
      at += out[j];
    }
    exchange.allToAll(receiveO, extra > 0 ? sendO : o.view(-1), in, out).join();
    unpack(in, tokens, joint);
  }

  private void unpack(long[] counts, Tensor tokens, Tensor joint) {
    HeadSplit split = rank.split;
    long at = 0;
    for (int j = 0; j < counts.length; j++) {
      if (split.count(j) > 0) {
        long rows = rank.tokens() + rank.shape.joint();
        long[] sizes = {rows, rank.shape.batch(), split.count(j), rank.shape.headDim()};
        Tensor piece = receiveO.narrow(0, at, counts[j]).view(sizes);
        tokens.narrow(2, split.first(j), split.count(j)).copy_(piece.narrow(0, 0, rank.tokens()));
        if (joint != null) {
          joint
              .narrow(2, split.first(j), split.count(j))
              .copy_(piece.narrow(0, rank.tokens(), rank.shape.joint()));
        }
      }
      at += counts[j];
    }
  }
}
