package org.attn4j.distributed;

import java.util.ArrayList;
import java.util.List;

/**
 * Which query heads each member of an all-to-all computes, and the key/value heads that they read.
 * Whole groups of query heads if there are key/value heads for all members; else query heads as
 * evenly as possible, and a key/value head goes to every member that reads it. Members may have
 * different numbers of heads, and none if there are more members than heads.
 */
record HeadSplit(int heads, int kvHeads, int members) {
  /** Query heads that read one key/value head. */
  int group() {
    return heads / kvHeads;
  }

  /** A member's first query head; of {@code members} the number of heads. */
  int first(int member) {
    int unit = kvHeads >= members ? group() : 1;
    return unit * (int) ((long) member * (heads / unit) / members);
  }

  int count(int member) {
    return first(member + 1) - first(member);
  }

  /** The first key/value head that a member reads. */
  int firstKv(int member) {
    return first(member) / group();
  }

  int kvCount(int member) {
    int end = first(member + 1);
    return end == first(member) ? 0 : (end + group() - 1) / group() - firstKv(member);
  }

  /** The fullest member's query heads. */
  int most() {
    int most = 0;
    for (int member = 0; member < members; member++) {
      most = Math.max(most, count(member));
    }
    return most;
  }

  /** The fullest member's key/value heads. */
  int mostKv() {
    int most = 0;
    for (int member = 0; member < members; member++) {
      most = Math.max(most, kvCount(member));
    }
    return most;
  }

  /** Heads of one attention call, counted from the first that the caller has. */
  record Call(int head, int heads, int kvHead, int kvHeads) {}

  /**
   * The calls that attention of the query heads {@code first} to {@code first + count} takes: one
   * if they are whole groups, or all of one group; else one per key/value head.
   */
  List<Call> calls(int first, int count) {
    int group = group();
    int kv = first / group;
    int end = first + count;
    int kvEnd = (end + group - 1) / group;
    if (first % group == 0 && end % group == 0) {
      return List.of(new Call(0, count, 0, kvEnd - kv));
    }
    List<Call> calls = new ArrayList<>();
    for (int j = kv; j < kvEnd; j++) {
      int from = Math.max(first, j * group);
      int to = Math.min(end, (j + 1) * group);
      calls.add(new Call(from - first, to - from, j - kv, 1));
    }
    return calls;
  }
}
