package org.attn4j.distributed;

import java.util.List;
import org.bytedeco.pytorch.Tensor;

/**
 * What a group of ranks is asked to carry. All tensors are contiguous and of sizes that both sides
 * know: nobody below checks them. Calls return at once.
 */
interface Exchange {
  /** A tensor that goes to, or comes from, a member of the group. */
  record Message(int member, Tensor tensor) {}

  /** Messages on their way. */
  interface Pending {
    /**
     * Returns when what was received may be read and what was sent may be overwritten by the work
     * that comes next: on the CPU by this thread, on a GPU by its current stream, without making
     * this thread wait.
     *
     * @throws RankException if a peer was lost or did not answer in time
     */
    void join();
  }

  /**
   * Part j of {@code send} goes to member j, part j of {@code receive} comes from it: one after the
   * other, of these numbers of elements.
   */
  Pending allToAll(Tensor receive, Tensor send, long[] receiveCounts, long[] sendCounts);

  /**
   * Sends and receives at the same time. Two messages between the same members arrive in the order
   * of the lists. Empty ones are left out.
   */
  Pending sendReceive(List<Message> sends, List<Message> receives);
}
