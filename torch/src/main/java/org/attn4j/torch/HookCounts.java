package org.attn4j.torch;

import java.util.Collections;
import java.util.EnumMap;
import java.util.Map;
import java.util.stream.Collectors;

/**
 * How many calls had which outcome since the process started. A snapshot; calls of other threads go
 * on while it is taken.
 */
public final class HookCounts {
  private final Map<HookOutcome, Long> counts;

  HookCounts(long[] byOrdinal) {
    EnumMap<HookOutcome, Long> map = new EnumMap<>(HookOutcome.class);
    for (HookOutcome outcome : HookOutcome.values()) {
      if (byOrdinal[outcome.ordinal()] != 0) {
        map.put(outcome, byOrdinal[outcome.ordinal()]);
      }
    }
    counts = Collections.unmodifiableMap(map);
  }

  /**
   * {@return the calls with one outcome}
   *
   * @param outcome the outcome
   */
  public long of(HookOutcome outcome) {
    return counts.getOrDefault(outcome, 0L);
  }

  /** {@return the calls that our kernels served} */
  public long served() {
    return sum(true);
  }

  /** {@return the calls that were left to PyTorch} */
  public long declined() {
    return sum(false);
  }

  private long sum(boolean served) {
    return counts.entrySet().stream()
        .filter(entry -> entry.getKey().isServed() == served)
        .mapToLong(Map.Entry::getValue)
        .sum();
  }

  /** {@return the outcomes that occurred, with their numbers} */
  public Map<HookOutcome, Long> byOutcome() {
    return counts;
  }

  /**
   * {@return what happened since an earlier snapshot}
   *
   * @param earlier an earlier snapshot
   */
  public HookCounts since(HookCounts earlier) {
    long[] difference = new long[HookOutcome.values().length];
    for (HookOutcome outcome : HookOutcome.values()) {
      difference[outcome.ordinal()] = of(outcome) - earlier.of(outcome);
    }
    return new HookCounts(difference);
  }

  /** Such as "served 12 (SAGE 12), left to PyTorch 3 (MASK 1, TYPE 2)". */
  @Override
  public String toString() {
    return "served " + served() + list(true) + ", left to PyTorch " + declined() + list(false);
  }

  private String list(boolean served) {
    String items =
        counts.entrySet().stream()
            .filter(entry -> entry.getKey().isServed() == served)
            .map(entry -> entry.getKey() + " " + entry.getValue())
            .collect(Collectors.joining(", "));
    return items.isEmpty() ? "" : " (" + items + ")";
  }
}
