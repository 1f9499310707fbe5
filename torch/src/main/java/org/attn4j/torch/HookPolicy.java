package org.attn4j.torch;

import java.util.List;
import org.attn4j.AttentionOptions;
import org.attn4j.BackendMode;
import org.attn4j.SageKernel;
import org.attn4j.SdpaBackend;
import org.attn4j.SparsityOptions;
import org.attn4j.SparsityOptions.Selection;
import org.attn4j.backend.BackendChain;
import org.attn4j.backend.SpargeRule;

/**
 * What options and system properties make of the chain, as the numbers that the native code reads.
 * Internal: attn4j-pytorch hands its scopes and defaults down with it.
 */
public final class HookPolicy {
  private static final int MAX_RULES = 64;

  // Of the enum AttentionFunction in attn4j.h.
  private static final int SPARGE_BY_MASS = 4;
  private static final int SPARGE_BY_RANK = 5;

  private HookPolicy() {}

  /**
   * Where calls that leave backend and mode open start, if they lie inside all bounds.
   *
   * @param computeCapability 10 * major + minor
   * @param maxHeadDim the largest head_dim
   * @param maxQueries the largest number of queries
   * @param maxKeys the largest number of keys
   * @param start EXACT or PYTORCH
   */
  public record Rule(
      int computeCapability, long maxHeadDim, long maxQueries, long maxKeys, SdpaBackend start) {}

  /** The numbers, in the order of the struct Policy in torch/src/main/cpp/chain.h. */
  static int[] encode(AttentionOptions options, List<Rule> rules) {
    SparsityOptions sparsity = options.sparsity();
    BackendChain chain =
        BackendChain.ofThisProcess()
            .withCaller(SdpaBackend.PYTORCH, "PyTorch's own scaled_dot_product_attention");
    SdpaBackend chosen = chain.chosen(options);
    boolean open = options.mode() == BackendMode.PREFER && chosen == SdpaBackend.AUTO;
    if (rules.size() > MAX_RULES) {
      throw new IllegalArgumentException(
          "there are " + rules.size() + " rules; at most " + MAX_RULES + " are accepted");
    }
    long site = SpargeRule.callSite(options.callSite());
    Writer out = new Writer(19 + 5 * rules.size());
    out.put(askedBits(chain.asked(options), sparsity.selection()))
        .put(open ? 1 : 0)
        .put(chosen == SdpaBackend.SPARGE ? 1 : 0)
        .put(chosen == SdpaBackend.EXACT ? 1 : 0)
        .put(clamp(SpargeRule.MIN_KEYS))
        .put(sageFunction(options.sageKernel()))
        .put(sparsity.selection() == Selection.TOPK ? SPARGE_BY_RANK : SPARGE_BY_MASS)
        .put(options.quantGranularity().ordinal())
        .put(options.pvAccumulator().ordinal())
        .put(options.smoothK() ? 1 : 0)
        .put(sparsity.simthreshd1())
        .put(sparsity.cdfthreshd())
        .put(sparsity.topk())
        .put(sparsity.pvthreshd())
        .put(sparsity.attentionSink() ? 1 : 0)
        .put(options.sparsityRule().ordinal())
        .put((int) site)
        .put((int) (site >>> Integer.SIZE))
        .put(rules.size());
    for (Rule rule : rules) {
      out.put(rule.computeCapability())
          .put(clamp(rule.maxHeadDim()))
          .put(clamp(rule.maxQueries()))
          .put(clamp(rule.maxKeys()))
          .put(bit(rule.start()));
    }
    return out.values;
  }

  private static int askedBits(List<SdpaBackend> asked, Selection selection) {
    // A block mask would have to come with the call.
    boolean sparse = selection == Selection.MASS || selection == Selection.TOPK;
    int bits = 0;
    for (SdpaBackend backend : asked) {
      if (backend != SdpaBackend.SPARGE || sparse) {
        bits |= bit(backend);
      }
    }
    return bits;
  }

  private static int sageFunction(SageKernel kernel) {
    return switch (kernel) {
      case AUTO -> 0;
      case QK_INT8_PV_FP16 -> 1;
      case QK_INT8_PV_FP8_SM90 -> 2;
      case QK_INT8_PV_FP8 -> 7;
    };
  }

  private static int bit(SdpaBackend backend) {
    return switch (backend) {
      case SPARGE -> 1;
      case SAGE -> 2;
      case EXACT -> 4;
      case PYTORCH -> 8;
      case AUTO, CPU -> 0;
    };
  }

  private static int clamp(long value) {
    return (int) Math.min(value, Integer.MAX_VALUE);
  }

  private static final class Writer {
    final int[] values;
    private int used;

    Writer(int size) {
      values = new int[size];
    }

    Writer put(int value) {
      values[used++] = value;
      return this;
    }

    Writer put(float value) {
      return put(Float.floatToRawIntBits(value));
    }
  }
}
