package org.attn4j.pytorch;

/**
 * The shapes of a call without an obstacle.
 *
 * @param q queries
 * @param k keys
 * @param v values
 * @param sizes the sizes after PyTorch's broadcasting
 */
record Geometry(Operand q, Operand k, Operand v, Sizes sizes) {

  static Geometry of(SdpaCall call) {
    Operand q = Operand.of(call.query(), call.packing(), call.heads());
    Operand k = Operand.of(call.key(), call.packing(), call.heads());
    Operand v = Operand.of(call.value(), call.packing(), call.heads());
    long batch = Math.max(q.batch(), Math.max(k.batch(), v.batch()));
    long heads = q.heads();
    long headsKv = k.heads();
    if (!call.groupedHeads()) {
      heads = Math.max(heads, Math.max(k.heads(), v.heads()));
      headsKv = k.heads() == 1 && v.heads() == 1 ? 1 : heads;
    }
    Sizes sizes = new Sizes(batch, heads, headsKv, q.length(), k.length(), q.headDim());
    return new Geometry(q, k, v, sizes);
  }
}
