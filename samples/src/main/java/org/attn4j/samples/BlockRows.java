package org.attn4j.samples;

import java.util.Arrays;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.stream.IntStream;
import org.attn4j.Attention;
import org.attn4j.AttentionOptions;
import org.attn4j.AttentionRequest;
import org.attn4j.BackendMode;
import org.attn4j.BackendVerdict;
import org.attn4j.DType;
import org.attn4j.HostTensor;
import org.attn4j.SdpaBackend;

/**
 * Attention over the blocks of a map on the CPU backend. Every row of blocks is a request of its
 * own, whose keys and values are those of the blocks to compute: what is left out costs no time.
 */
public final class BlockRows implements AutoCloseable {
  private final float[] keyRows; // [key][HEAD_DIM]
  private final float[] valueRows;
  private final long count; // of tokens
  private final BlockMap map;
  private final AttentionOptions options;
  private final HostTensor q; // each (1, 1, tokens, HEAD_DIM)
  private final HostTensor k;
  private final HostTensor v;
  private final HostTensor o;
  private final Queue<Scratch> scratch = new ConcurrentLinkedQueue<>();

  public BlockRows(PatchTokens tokens, BlockMap map) {
    this(tokens.queries(), tokens.keys(), tokens.values(), tokens.scale(), map);
  }

  /**
   * Takes queries, keys and values of one head, {@code [token][64]}.
   *
   * @param scale what multiplies the dot product of a query and a key
   * @param map the blocks to compute
   */
  public BlockRows(float[] queries, float[] keys, float[] values, float scale, BlockMap map) {
    this.map = map;
    keyRows = keys;
    valueRows = values;
    count = queries.length / PatchTokens.HEAD_DIM;
    options =
        AttentionOptions.builder()
            .smScale(scale)
            .backend(SdpaBackend.CPU)
            .mode(BackendMode.REQUIRE)
            .build();
    q = tensor(queries);
    k = tensor(keys);
    v = tensor(values);
    o = room(count);
  }

  /** The kernel that serves, in the backend's own words. */
  public String kernel() {
    return Attention.explain(request(q, k, v, o)).stream()
        .filter(verdict -> verdict.outcome() == BackendVerdict.Outcome.SERVES)
        .map(BackendVerdict::reason)
        .findFirst()
        .orElseThrow();
  }

  /** Computes all rows. */
  public void run() {
    run(0, map.rows());
  }

  /** Computes the rows of blocks from {@code first} up to {@code end}, which it leaves out. */
  public void run(int first, int end) {
    IntStream.range(first, end).parallel().forEach(this::attend);
  }

  /** {@code [token][HEAD_DIM]} */
  public float[] output() {
    return o.toFloatArray();
  }

  private void attend(int row) {
    long from = row * map.grid().queryBlock();
    long to = Math.min(from + map.grid().queryBlock(), count);
    HostTensor queries = q.slice(2, from, to);
    HostTensor output = o.slice(2, from, to);
    int[] blocks = IntStream.range(0, map.columns()).filter(b -> map.computed(row, b)).toArray();
    if (blocks.length == map.columns()) {
      Attention.sdpa(request(queries, k, v, output));
    } else if (blocks.length > 0) {
      Scratch free = scratch.poll();
      Scratch room = free == null ? new Scratch(count) : free;
      HostTensor keys = gather(keyRows, blocks, room.keys());
      HostTensor values = gather(valueRows, blocks, room.values());
      Attention.sdpa(request(queries, keys, values, output));
      scratch.add(room);
    }
  }

  private AttentionRequest request(HostTensor q, HostTensor k, HostTensor v, HostTensor o) {
    return AttentionRequest.builder().q(q).k(k).v(v).o(o).options(options).build();
  }

  /** Copies the rows of these blocks to the start of {@code target}; returns them as a tensor. */
  private HostTensor gather(float[] rows, int[] blocks, HostTensor target) {
    int size = (int) map.grid().keyBlock() * PatchTokens.HEAD_DIM;
    int at = 0;
    for (int block : blocks) {
      float[] part =
          Arrays.copyOfRange(rows, block * size, Math.min((block + 1) * size, rows.length));
      target.write(at, 1, part.length, part);
      at += part.length;
    }
    return target.slice(2, 0, at / PatchTokens.HEAD_DIM);
  }

  private static HostTensor tensor(float[] rows) {
    long count = rows.length / PatchTokens.HEAD_DIM;
    return HostTensor.of(DType.FLOAT32, rows, 1, 1, count, PatchTokens.HEAD_DIM);
  }

  private static HostTensor room(long count) {
    return HostTensor.allocate(DType.FLOAT32, 1, 1, count, PatchTokens.HEAD_DIM);
  }

  /** Where a thread puts the keys and values of a row, one row after another. */
  private record Scratch(HostTensor keys, HostTensor values) {
    Scratch(long count) {
      this(room(count), room(count));
    }
  }

  @Override
  public void close() {
    q.close();
    k.close();
    v.close();
    o.close();
    scratch.forEach(
        room -> {
          room.keys().close();
          room.values().close();
        });
  }
}
