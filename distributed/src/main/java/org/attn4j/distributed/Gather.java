package org.attn4j.distributed;

import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;
import org.attn4j.InvalidAttentionArgumentException;
import org.attn4j.distributed.Exchange.Message;
import org.bytedeco.pytorch.MemoryFormatOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/** Ranks' tokens put together: each range goes straight to its place. */
final class Gather {
  private Gather() {}

  static Tensor whole(World world, SequenceLayout layout, Tensor shard, int dimension) {
    int at = dimension < 0 ? dimension + (int) shard.dim() : dimension;
    boolean exists = at >= 0 && at < shard.dim();
    if (!exists || shard.size(at) != layout.length(world.rank())) {
      throw new InvalidAttentionArgumentException(
          "dimension "
              + dimension
              + " of the shard "
              + (exists ? "has " + shard.size(at) + " tokens" : "does not exist")
              + "; rank "
              + world.rank()
              + " has "
              + layout.length(world.rank())
              + " tokens");
    }
    return Tensors.scoped(
        () -> {
          Tensor mine = shard.movedim(at, 0).contiguous();
          long[] sizes = mine.shape();
          sizes[0] = layout.tokens();
          Tensor whole = torch.empty(sizes, mine.options(), new MemoryFormatOptional());
          int[] all = IntStream.range(0, world.size()).toArray();
          List<List<TokenRange>> ranges =
              IntStream.range(0, world.size()).mapToObj(layout::ranges).toList();
          into(world.exchange(all), whole, mine, ranges, world.rank()).join();
          return whole.movedim(0, at).contiguous();
        });
  }

  /**
   * Sends a member's rows to all others and receives theirs, into their places in {@code whole}.
   *
   * @param ranges the rows of each member, in the order in which it has them
   */
  static Exchange.Pending into(
      Exchange exchange, Tensor whole, Tensor mine, List<List<TokenRange>> ranges, int member) {
    List<Message> sends = new ArrayList<>();
    List<Message> receives = new ArrayList<>();
    for (int other = 0; other < ranges.size(); other++) {
      long passed = 0;
      for (TokenRange range : ranges.get(other)) {
        Tensor place = whole.narrow(0, range.from(), range.length());
        if (other == member) {
          place.copy_(mine.narrow(0, passed, range.length()));
        } else {
          receives.add(new Message(other, place));
        }
        passed += range.length();
      }
      if (other != member) {
        long sent = 0;
        for (TokenRange range : ranges.get(member)) {
          sends.add(new Message(other, mine.narrow(0, sent, range.length())));
          sent += range.length();
        }
      }
    }
    return exchange.sendReceive(sends, receives);
  }
}
