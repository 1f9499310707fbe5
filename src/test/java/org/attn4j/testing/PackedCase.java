package org.attn4j.testing;

import java.util.Arrays;
import java.util.Random;
import org.attn4j.AttentionOptions;
import org.attn4j.CausalMask;
import org.attn4j.DType;
import org.attn4j.HostTensor;
import org.attn4j.PackedSequences;
import org.attn4j.TensorLayout;

/** A random problem of packed sequences on the host, and the formula for each of its rows. */
public final class PackedCase {
  private static final int[] HEAD_DIMS = {40, 64, 96, 128};

  /** Rows of each sequence. */
  public final int[] queries;

  /** Keys of each sequence. */
  public final int[] keys;

  /** The offsets, in host memory. */
  public final PackedSequences packed;

  /** Layout, causal mask. */
  public final AttentionOptions options;

  /** All queries. */
  public final HostTensor q;

  /** All keys. */
  public final HostTensor k;

  /** All values. */
  public final HostTensor v;

  /** Query heads. */
  public final int headsQ;

  private final int headDim;

  /** Up to {@code most} sequences of up to {@code longest} rows, some of them empty. */
  public PackedCase(Random random, AttentionOptions base, DType dtype, int most, int longest) {
    int count = random.nextInt(most + 1);
    queries = lengths(random, count, longest);
    keys = lengths(random, count, longest);
    packed = PackedSequences.ofLengths(queries, keys);
    options =
        base.toBuilder()
            .layout(random.nextBoolean() ? TensorLayout.HND : TensorLayout.NHD)
            .causalMask(CausalMask.values()[random.nextInt(3)])
            .build();
    int headsKv = 1 + random.nextInt(2);
    headsQ = headsKv * (1 + random.nextInt(3));
    headDim = HEAD_DIMS[random.nextInt(HEAD_DIMS.length)];
    q = tensor(random, dtype, headsQ, Arrays.stream(queries).sum());
    k = tensor(random, dtype, headsKv, Arrays.stream(keys).sum());
    v = tensor(random, dtype, headsKv, Arrays.stream(keys).sum());
  }

  private static int[] lengths(Random random, int count, int longest) {
    return random.ints(count, 0, longest + 1).map(n -> random.nextInt(6) == 0 ? 0 : n).toArray();
  }

  private HostTensor tensor(Random random, DType dtype, int heads, int rows) {
    return options.layout() == TensorLayout.HND
        ? Gaussian.tensor(random, dtype, 1, heads, rows, headDim)
        : Gaussian.tensor(random, dtype, 1, rows, heads, headDim);
  }

  /** What is done with a row. */
  public interface RowCheck {
    /** A row of all, with what the formula gives. */
    void check(int head, int row, NaiveAttention.Row expected);
  }

  /** Every row of every sequence. */
  public void forEachRow(RowCheck check) {
    int rows = options.layout().sequenceDimension();
    int firstQuery = 0;
    int firstKey = 0;
    for (int s = 0; s < queries.length; s++) {
      NaiveAttention naive =
          new NaiveAttention(
              q.slice(rows, firstQuery, firstQuery + queries[s]),
              k.slice(rows, firstKey, firstKey + keys[s]),
              v.slice(rows, firstKey, firstKey + keys[s]),
              options,
              null);
      for (int head = 0; head < headsQ; head++) {
        for (int i = 0; i < queries[s]; i++) {
          check.check(head, firstQuery + i, naive.row(0, head, i));
        }
      }
      firstQuery += queries[s];
      firstKey += keys[s];
    }
  }

  /** The row of an output in the case's layout. */
  public float[] row(HostTensor o, int head, int row) {
    float[] values = new float[headDim];
    int heads = options.layout().headDimension();
    int rows = options.layout().sequenceDimension();
    o.read(head * o.stride(heads) + row * o.stride(rows), o.stride(3), headDim, values);
    return values;
  }

  @Override
  public String toString() {
    return q.dtype()
        + " q "
        + q.shape()
        + " k "
        + k.shape()
        + " "
        + options.layout()
        + " "
        + options.causalMask()
        + " "
        + Arrays.toString(queries)
        + " on "
        + Arrays.toString(keys);
  }
}
