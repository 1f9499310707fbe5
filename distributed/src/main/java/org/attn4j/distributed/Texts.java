package org.attn4j.distributed;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Backend;
import org.bytedeco.pytorch.Tensor;

/**
 * Texts of all ranks, by a process group of host memory: a rank that was lost is noticed at once.
 */
final class Texts {
  private static final int LENGTH_BYTES = 8;

  private Texts() {}

  /** Collective: each rank's text. */
  @SuppressWarnings("try") // the scope is there to be closed
  static List<String> gather(World world, Backend group, String what, String text) {
    byte[] mine = text.getBytes(StandardCharsets.UTF_8);
    try (PointerScope temporaries = new PointerScope()) {
      byte[] length =
          String.format(Locale.ROOT, "%" + LENGTH_BYTES + "d", mine.length)
              .getBytes(StandardCharsets.UTF_8);
      List<Integer> lengths = new ArrayList<>();
      for (byte[] other : gather(world, group, what, length, LENGTH_BYTES)) {
        lengths.add(Integer.parseInt(new String(other, StandardCharsets.UTF_8).trim()));
      }
      int longest = lengths.stream().max(Integer::compare).orElseThrow();
      List<byte[]> all = gather(world, group, what, mine, longest);
      List<String> texts = new ArrayList<>();
      for (int rank = 0; rank < all.size(); rank++) {
        texts.add(new String(all.get(rank), 0, lengths.get(rank), StandardCharsets.UTF_8));
      }
      return texts;
    }
  }

  private static List<byte[]> gather(
      World world, Backend group, String what, byte[] mine, int room) {
    Tensor send = Tensors.bytes(room, -1);
    Tensor receive = Tensors.bytes((long) room * world.size(), -1);
    new BytePointer(send.data_ptr()).put(mine, 0, mine.length);
    world.finish(world.guarded(-1, what, () -> group._allgather_base(receive, send)), -1, what);
    List<byte[]> all = new ArrayList<>();
    BytePointer received = new BytePointer(receive.data_ptr());
    for (int rank = 0; rank < world.size(); rank++) {
      byte[] theirs = new byte[room];
      received.position((long) rank * room).get(theirs, 0, room);
      all.add(theirs);
    }
    return all;
  }
}
