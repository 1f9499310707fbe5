package org.attn4j.pytorch;

import java.util.List;
import org.attn4j.InvalidAttentionArgumentException;
import org.attn4j.SdpaBackend;
import org.attn4j.torch.HookPolicy;

/**
 * Where auto mode starts in the chain, by the size of a call: below some length PyTorch's SDPA is
 * the faster one. Immutable. Read only for calls whose options leave backend and mode open.
 */
public final class Thresholds {
  /** No rule: every call starts at the head of the chain. */
  public static final Thresholds NONE = of(List.of());

  /**
   * What counts unless the program sets a table of its own: no rule. On compute capability 9.0
   * sageattn itself picks the exact kernel where that was measured to be the faster one, and in
   * bench/results/dense-h200.json its GPU time was below PyTorch's at every shape. The drop-in
   * itself hasn't been timed again since, and other GPUs have no measurements yet.
   */
  public static final Thresholds MEASURED = NONE;

  private final List<Rule> rules;

  private Thresholds(List<Rule> rules) {
    this.rules = rules;
  }

  /**
   * One line of the table: a call that lies inside all bounds starts at a backend.
   *
   * @param computeCapability 10 * major + minor of the GPU that was measured, such as 90
   * @param maxHeadDim the largest head_dim that the rule is for
   * @param maxQueries the largest number of queries that the rule is for
   * @param maxKeys the largest number of keys that the rule is for
   * @param start EXACT or PYTORCH
   */
  public record Rule(
      int computeCapability, long maxHeadDim, long maxQueries, long maxKeys, SdpaBackend start) {
    /**
     * Checks that the rule names a backend to start at.
     *
     * @param computeCapability of the device: 90
     * @param maxHeadDim the largest that the rule covers
     * @param maxQueries the most that the rule covers
     * @param maxKeys the most that the rule covers
     * @param start the backend to start at
     */
    public Rule {
      if (start != SdpaBackend.EXACT && start != SdpaBackend.PYTORCH) {
        throw new InvalidAttentionArgumentException(
            "start is " + start + "; EXACT and PYTORCH are accepted");
      }
    }

    private boolean covers(int capability, Sizes sizes) {
      return capability == computeCapability
          && sizes.headDim() <= maxHeadDim
          && sizes.queries() <= maxQueries
          && sizes.keys() <= maxKeys;
    }
  }

  /**
   * {@return a table; the first rule that covers a call counts}
   *
   * @param rules in the order in which they are read
   */
  public static Thresholds of(List<Rule> rules) {
    return new Thresholds(List.copyOf(rules));
  }

  /** {@return the rules in the order in which they are read} */
  public List<Rule> rules() {
    return rules;
  }

  /** The rules as the hook reads them. */
  List<HookPolicy.Rule> forHook() {
    return rules.stream()
        .map(
            rule ->
                new HookPolicy.Rule(
                    rule.computeCapability(),
                    rule.maxHeadDim(),
                    rule.maxQueries(),
                    rule.maxKeys(),
                    rule.start()))
        .toList();
  }

  /** Where a call starts; AUTO if no rule covers it. */
  SdpaBackend start(int computeCapability, Sizes sizes) {
    for (Rule rule : rules) {
      if (rule.covers(computeCapability, sizes)) {
        return rule.start();
      }
    }
    return SdpaBackend.AUTO;
  }
}
