package org.attn4j.distributed;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.attn4j.CausalMask;
import org.attn4j.DType;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/** A rank that makes many calls and looks at its memory. The argument: how many. */
public final class MemoryRank {
  private static final int HEADS = 4;
  private static final int TOKENS = 24;
  private static final int HEAD_DIM = 8;

  private MemoryRank() {}

  /** Prints by how much the process grew in the last four fifths of the calls. */
  public static void main(String[] args) throws IOException {
    int calls = Integer.parseInt(args[0]);
    List<SequenceAttention> attentions = new ArrayList<>();
    try (World world = World.join(RankEnvironment.ofProcess(), WorldOptions.DEFAULTS)) {
      SequenceLayout layout = null;
      for (SequenceMesh mesh : CasesRank.meshes(world.size())) {
        for (KeyExchange keys : KeyExchange.values()) {
          layout = SequenceLayout.of(TOKENS, mesh, CausalMask.TOP_LEFT);
          attentions.add(
              SequenceAttention.builder(world, layout)
                  .heads(HEADS, HEADS / 2, HEAD_DIM, DType.BFLOAT16)
                  .keyExchange(keys)
                  .build());
        }
      }
      long tokens = layout.length(world.rank());
      try (Tensor q = random(HEADS, tokens);
          Tensor k = random(HEADS / 2, tokens)) {
        run(attentions, q, k, calls / 5);
        long kilobytes = residentKilobytes();
        long pointers = Pointer.totalCount();
        long start = System.nanoTime();
        run(attentions, q, k, calls - calls / 5);
        long micros = (System.nanoTime() - start) / 1000 / (calls - calls / 5);
        System.out.printf(
            "grown %d kB %d pointers, %d us a call, %d kB in all%n",
            residentKilobytes() - kilobytes,
            Pointer.totalCount() - pointers,
            micros,
            residentKilobytes());
      }
      attentions.forEach(SequenceAttention::close);
      world.barrier();
    }
  }

  private static Tensor random(int heads, long tokens) {
    try (Tensor numbers = torch.randn(1, heads, tokens, HEAD_DIM)) {
      return numbers.to(torch.ScalarType.BFloat16);
    }
  }

  private static void run(List<SequenceAttention> attentions, Tensor q, Tensor k, int calls) {
    for (int i = 0; i < calls; i++) {
      attentions.get(i % attentions.size()).attend(q, k, k).close();
    }
  }

  private static long residentKilobytes() throws IOException {
    System.gc();
    for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
      if (line.startsWith("VmRSS:")) {
        return Long.parseLong(line.replaceAll("\\D+", ""));
      }
    }
    throw new IOException("no VmRSS in /proc/self/status");
  }
}
