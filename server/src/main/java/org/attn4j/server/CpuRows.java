package org.attn4j.server;

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
import org.attn4j.samples.BlockMap;
import org.attn4j.samples.PatchTokens;

/**
 * Attention over the blocks of a map on the CPU backend. Every row of blocks is a request of its
 * own, whose keys and values are those of the blocks to compute: what is left out costs no time.
 */
final class CpuRows implements AutoCloseable {
  private static final int STEPS = 8;

  private final PatchTokens tokens;
  private final BlockMap map;
  private final AttentionOptions options;
  private final HostTensor q; // each (1, 1, tokens, HEAD_DIM)
  private final HostTensor k;
  private final HostTensor v;
  private final HostTensor o;
  private final Queue<Scratch> scratch = new ConcurrentLinkedQueue<>();

  CpuRows(PatchTokens tokens, BlockMap map) {
    this.tokens = tokens;
    this.map = map;
    options =
        AttentionOptions.builder()
            .smScale(tokens.scale())
            .backend(SdpaBackend.CPU)
            .mode(BackendMode.REQUIRE)
            .build();
    q = tensor(tokens.queries());
    k = tensor(tokens.keys());
    v = tensor(tokens.values());
    o = room(tokens.count());
  }

  /** The kernel that serves, in the backend's own words. */
  String kernel() {
    return Attention.explain(request(q, k, v, o)).stream()
        .filter(verdict -> verdict.outcome() == BackendVerdict.Outcome.SERVES)
        .map(BackendVerdict::reason)
        .findFirst()
        .orElseThrow();
  }

  /** Computes all rows, a few at a time; returns the milliseconds that it took. */
  double run(String name, Progress progress) {
    int rows = map.rows();
    int steps = Math.min(STEPS, rows);
    double total = 0;
    for (int step = 0; step < steps; step++) {
      progress.check();
      long start = System.nanoTime();
      IntStream.range(step * rows / steps, (step + 1) * rows / steps)
          .parallel()
          .forEach(this::attend);
      double millis = (System.nanoTime() - start) / 1e6;
      total += millis;
      progress.done(new Progress.Step(name, SdpaBackend.CPU.id(), step + 1, steps, millis));
    }
    return total;
  }

  /** {@code [token][HEAD_DIM]} */
  float[] output() {
    return o.toFloatArray();
  }

  private void attend(int row) {
    long from = row * map.grid().queryBlock();
    long to = Math.min(from + map.grid().queryBlock(), tokens.count());
    HostTensor queries = q.slice(2, from, to);
    HostTensor output = o.slice(2, from, to);
    int[] blocks = IntStream.range(0, map.columns()).filter(b -> map.computed(row, b)).toArray();
    if (blocks.length == map.columns()) {
      Attention.sdpa(request(queries, k, v, output));
    } else if (blocks.length > 0) {
      Scratch free = scratch.poll();
      Scratch room = free == null ? new Scratch(tokens.count()) : free;
      HostTensor keys = gather(tokens.keys(), blocks, room.keys());
      HostTensor values = gather(tokens.values(), blocks, room.values());
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

  private static HostTensor room(int count) {
    return HostTensor.allocate(DType.FLOAT32, 1, 1, count, PatchTokens.HEAD_DIM);
  }

  /** Where a thread puts the keys and values of a row, one row after another. */
  private record Scratch(HostTensor keys, HostTensor values) {
    Scratch(int count) {
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
