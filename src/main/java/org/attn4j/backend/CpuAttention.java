package org.attn4j.backend;

import java.util.stream.LongStream;
import org.attn4j.AttentionDims;
import org.attn4j.AttentionMask;
import org.attn4j.AttentionRequest;
import org.attn4j.AttentionTensor;
import org.attn4j.CausalMask;
import org.attn4j.DType;
import org.attn4j.HostTensor;
import org.attn4j.InvalidAttentionArgumentException;
import org.attn4j.PackedSequences;
import org.attn4j.TensorLayout;

/**
 * Exact attention on the CPU, blocked with an online softmax (FlashAttention-2, arXiv:2307.08691)
 * and parallel over the common pool. The oracle of the tests, and what serves host tensors.
 */
public final class CpuAttention {
  static final int QUERY_BLOCK = 64;
  static final int KEY_TILE = 128;

  /** The arithmetic between input and output. */
  public enum Precision {
    /** float throughout. */
    FP32,
    /** double throughout; about half as fast. */
    FP64
  }

  private final AttentionRequest request;
  private final AttentionDims dims;
  private final int headDim;
  private final double scale;
  private final Axes axes;

  private CpuAttention(AttentionRequest request) {
    this.request = request;
    this.dims = request.dims();
    this.headDim = Math.toIntExact(dims.headDim());
    this.scale =
        request.options().hasSmScale() ? request.options().smScale() : 1 / Math.sqrt(headDim);
    this.axes = new Axes(request.options().layout());
  }

  /**
   * Computes a request over host tensors; returns when the output is written.
   *
   * @throws InvalidAttentionArgumentException if the tensors are in device memory
   */
  public static void run(AttentionRequest request, Precision precision) {
    if (request.q().isDevice()) {
      throw new InvalidAttentionArgumentException(
          "q is device memory; the CPU reference reads host memory");
    }
    if (request.packed() == null) {
      new CpuAttention(request).run(precision);
    } else {
      runPacked(request, precision);
    }
  }

  /** Each sequence as a request of its own. */
  private static void runPacked(AttentionRequest request, Precision precision) {
    PackedSequences packed = request.packed();
    for (long i = 0; i < packed.count(); i++) {
      Rows queries = Rows.of(packed.cuSeqlensQ(), i, request.dims().queries());
      Rows keys = Rows.of(packed.cuSeqlensK(), i, request.dims().keys());
      if (queries.from < queries.to) {
        runSequence(request, queries, keys, precision);
      }
    }
  }

  private static void runSequence(
      AttentionRequest request, Rows queries, Rows keys, Precision precision) {
    int rows = request.options().layout().sequenceDimension();
    HostTensor all = (HostTensor) request.lse();
    long heads = request.dims().headsQ();
    long count = queries.to - queries.from;
    HostTensor lse = all == null ? null : HostTensor.allocate(DType.FLOAT32, 1, heads, count);
    AttentionRequest own =
        AttentionRequest.builder()
            .q(request.q().slice(rows, queries.from, queries.to))
            .k(request.k().slice(rows, keys.from, keys.to))
            .v(request.v().slice(rows, keys.from, keys.to))
            .o(request.o().slice(rows, queries.from, queries.to))
            .lse(lse)
            .options(request.options())
            .build();
    new CpuAttention(own).run(precision);
    for (long head = 0; lse != null && head < heads; head++) {
      for (long row = 0; row < count; row++) {
        all.set(lse.get(0, head, row), 0, head, queries.from + row);
      }
    }
  }

  /** The rows of a sequence: from the first up to, not including, the second. */
  private record Rows(long from, long to) {
    static Rows of(AttentionTensor offsets, long sequence, long rows) {
      HostTensor at = (HostTensor) offsets;
      long from = Math.min(Math.max(at.getInt(sequence), 0), rows);
      return new Rows(from, Math.min(Math.max(at.getInt(sequence + 1), from), rows));
    }
  }

  private void run(Precision precision) {
    long blocks = (dims.queries() + QUERY_BLOCK - 1) / QUERY_BLOCK;
    LongStream.range(0, dims.batch() * dims.headsQ() * blocks)
        .parallel()
        .forEach(
            item -> {
              long head = item / blocks;
              Block block =
                  new Block(
                      this,
                      head / dims.headsQ(),
                      head % dims.headsQ(),
                      item % blocks * QUERY_BLOCK);
              if (precision == Precision.FP32) {
                new CpuBlock32(block).run();
              } else {
                new CpuBlock64(block).run();
              }
            });
  }

  /** Which dimension of a layout is which. */
  private record Axes(int head, int sequence) {
    Axes(TensorLayout layout) {
      this(layout.headDimension(), layout.sequenceDimension());
    }
  }

  /** Some queries of one head: reads and writes their rows, and knows how many keys each sees. */
  static final class Block {
    final int headDim;
    final double scale;
    final int rows;
    private final CpuAttention attention;
    private final long batch;
    private final long head;
    private final long firstQuery;
    private final long keys;

    Block(CpuAttention attention, long batch, long head, long firstQuery) {
      this.attention = attention;
      this.batch = batch;
      this.head = head;
      this.firstQuery = firstQuery;
      this.headDim = attention.headDim;
      this.scale = attention.scale;
      this.rows = (int) Math.min(QUERY_BLOCK, attention.dims.queries() - firstQuery);
      this.keys = attention.keyLength(batch);
    }

    /** The row sees no key from this on. */
    long visibleKeys(int row) {
      long visible = Math.max(0, Math.min(keys, attention.causalLimit(firstQuery + row)));
      AttentionMask mask = attention.request.mask();
      return mask == null
          ? visible
          : Math.min(visible, mask.endKey(attention.dims, firstQuery + row));
    }

    /** No row of the block sees a key from this on. */
    long maxVisibleKeys() {
      if (!hasMask()) {
        return visibleKeys(rows - 1); // the last row sees the most
      }
      long most = 0;
      for (int row = 0; row < rows; row++) {
        most = Math.max(most, visibleKeys(row));
      }
      return most;
    }

    /** No row of the block sees a key before this. */
    long firstVisibleKey() {
      if (!hasMask()) {
        return 0;
      }
      long first = Long.MAX_VALUE;
      for (int row = 0; row < rows; row++) {
        first =
            Math.min(first, attention.request.mask().firstKey(attention.dims, firstQuery + row));
      }
      return first;
    }

    boolean hasMask() {
      return attention.request.mask() != null;
    }

    /** What the mask adds to the row's scores of {@code count} keys; -infinity for hidden ones. */
    void readMask(int row, long firstKey, int count, double[] addends) {
      attention
          .request
          .mask()
          .read(attention.dims, batch, head, firstQuery + row, firstKey, count, addends);
    }

    void readQuery(int row, float[] target) {
      HostTensor q = (HostTensor) attention.request.q();
      q.read(attention.offset(q, batch, head, firstQuery + row), q.stride(3), headDim, target);
    }

    void readKey(long key, float[] target) {
      readKeyOrValue((HostTensor) attention.request.k(), key, target);
    }

    void readValue(long key, float[] target) {
      readKeyOrValue((HostTensor) attention.request.v(), key, target);
    }

    private void readKeyOrValue(HostTensor tensor, long key, float[] target) {
      long kvHead = head / attention.dims.group();
      long offset = attention.offset(tensor, batch, kvHead, key);
      tensor.read(offset, tensor.stride(3), headDim, target);
    }

    void writeOutput(int row, float[] values) {
      HostTensor o = (HostTensor) attention.request.o();
      o.write(attention.offset(o, batch, head, firstQuery + row), o.stride(3), headDim, values);
    }

    void writeLse(int row, double value) {
      HostTensor lse = (HostTensor) attention.request.lse();
      if (lse != null) {
        lse.set((float) value, batch, head, firstQuery + row);
      }
    }
  }

  private long offset(HostTensor tensor, long batch, long head, long row) {
    return batch * tensor.stride(0)
        + head * tensor.stride(axes.head())
        + row * tensor.stride(axes.sequence());
  }

  private long keyLength(long batch) {
    HostTensor lengths = (HostTensor) request.kvLengths();
    return lengths == null
        ? dims.keys()
        : Math.max(0, Math.min(dims.keys(), lengths.getInt(batch)));
  }

  private long causalLimit(long query) {
    CausalMask mask = request.options().causalMask();
    return switch (mask) {
      case NONE -> Long.MAX_VALUE;
      case TOP_LEFT -> query + 1;
      case BOTTOM_RIGHT -> query + 1 + dims.keys() - dims.queries();
    };
  }
}
