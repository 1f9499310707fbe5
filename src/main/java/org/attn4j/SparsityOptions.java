package org.attn4j;

/**
 * What SpargeAttn may leave out (arXiv:2502.18137). Immutable; start from {@link #DEFAULTS}, {@link
 * #byTopk} or {@link #byMask}. Names and defaults are upstream's, so that thresholds found there
 * mean the same here. {@link SparsityTensors} holds values per head and the block maps.
 *
 * @param selection how blocks are chosen
 * @param simthreshd1 a block whose rows point in different directions is always computed: its mean
 *     cosine similarity is not above this. In [-1, 1]; lower prunes more
 * @param cdfthreshd per block of queries, the key blocks with the largest predicted mass are
 *     computed, as many as together hold no more than this share, at least one. In [0, 1]; 1 keeps
 *     all. Read by {@link Selection#MASS}
 * @param topk the share of key blocks to compute, in [0, 1], at least one block. {@link
 *     Selection#TOPK} goes by it alone; {@link Selection#MASS} by whichever rule keeps more
 * @param pvthreshd P*V is skipped where all scores are more than this below the row's maximum so
 *     far, in log2 units; infinity never skips
 * @param attentionSink whether the first key block is always computed
 */
public record SparsityOptions(
    Selection selection,
    float simthreshd1,
    float cdfthreshd,
    float topk,
    float pvthreshd,
    boolean attentionSink) {

  /** How blocks are chosen. */
  public enum Selection {
    /** By predicted mass: {@code spas_sage2_attn_meansim_cuda}. */
    MASS,
    /** By rank: {@code spas_sage2_attn_meansim_topk_cuda}. */
    TOPK,
    /** By the caller: {@code block_sparse_sage2_attn_cuda} with {@link SparsityTensors}' mask. */
    MASK,
    /** Not at all: SpargeAttn doesn't serve the request. */
    OFF
  }

  /** By mass, with SpargeAttn's thresholds: simthreshd1 0.6, cdfthreshd 0.97, pvthreshd 15. */
  public static final SparsityOptions DEFAULTS =
      new SparsityOptions(Selection.MASS, 0.6f, 0.97f, 0f, 15f, false);

  /** No sparsity: for the steps and layers of a model that need dense attention. */
  public static final SparsityOptions OFF = DEFAULTS.withSelection(Selection.OFF);

  private static final float RANKED_SIMTHRESHD1 = -0.1f;
  private static final float RANKED_PVTHRESHD = 50f;

  /**
   * Checks the ranges.
   *
   * @param selection the rule
   * @param simthreshd1 from -1 to 1
   * @param cdfthreshd from 0 to 1
   * @param topk from 0 to 1
   * @param pvthreshd 0 or more
   * @param attentionSink whether the first block of keys is always computed
   */
  public SparsityOptions {
    if (selection == null) {
      throw new InvalidAttentionArgumentException(
          "selection is null; MASS, TOPK, MASK or OFF is needed");
    }
    checkRange("simthreshd1", simthreshd1, -1, 1);
    checkRange("cdfthreshd", cdfthreshd, 0, 1);
    checkRange("topk", topk, 0, 1);
    checkRange("pvthreshd", pvthreshd, 0, Float.POSITIVE_INFINITY);
    if (selection == Selection.TOPK && topk == 0) {
      throw new InvalidAttentionArgumentException(
          "topk is 0; selection TOPK needs the share of blocks to compute, above 0 and up to 1");
    }
  }

  /**
   * By rank: this share of the key blocks. simthreshd1 -0.1, pvthreshd 50, as upstream.
   *
   * @param share of the blocks, above 0 and up to 1
   * @return the options
   */
  public static SparsityOptions byTopk(float share) {
    return new SparsityOptions(
        Selection.TOPK, RANKED_SIMTHRESHD1, 0f, share, RANKED_PVTHRESHD, false);
  }

  /**
   * By the block mask of the request's {@link SparsityTensors}. pvthreshd 50, as upstream.
   *
   * @return the options
   */
  public static SparsityOptions byMask() {
    return new SparsityOptions(Selection.MASK, RANKED_SIMTHRESHD1, 0f, 0f, RANKED_PVTHRESHD, false);
  }

  private SparsityOptions withSelection(Selection value) {
    return new SparsityOptions(value, simthreshd1, cdfthreshd, topk, pvthreshd, attentionSink);
  }

  /**
   * {@return these options with another simthreshd1}
   *
   * @param value the new value
   */
  public SparsityOptions withSimthreshd1(float value) {
    return new SparsityOptions(selection, value, cdfthreshd, topk, pvthreshd, attentionSink);
  }

  /**
   * {@return these options with another cdfthreshd}
   *
   * @param value the new value
   */
  public SparsityOptions withCdfthreshd(float value) {
    return new SparsityOptions(selection, simthreshd1, value, topk, pvthreshd, attentionSink);
  }

  /**
   * {@return these options with another topk}
   *
   * @param value the new value
   */
  public SparsityOptions withTopk(float value) {
    return new SparsityOptions(selection, simthreshd1, cdfthreshd, value, pvthreshd, attentionSink);
  }

  /**
   * {@return these options with another pvthreshd}
   *
   * @param value the new value
   */
  public SparsityOptions withPvthreshd(float value) {
    return new SparsityOptions(selection, simthreshd1, cdfthreshd, topk, value, attentionSink);
  }

  /**
   * {@return these options with or without an attention sink}
   *
   * @param value the new value
   */
  public SparsityOptions withAttentionSink(boolean value) {
    return new SparsityOptions(selection, simthreshd1, cdfthreshd, topk, pvthreshd, value);
  }

  private static void checkRange(String name, float value, float least, float most) {
    if (!(value >= least && value <= most)) { // NaN fails too
      throw new InvalidAttentionArgumentException(
          name + " is " + value + "; " + least + " to " + most + " are accepted");
    }
  }
}
