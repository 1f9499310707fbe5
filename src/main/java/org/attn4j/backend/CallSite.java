package org.attn4j.backend;

import org.attn4j.AttentionRequest;

/**
 * A place that calls come from: it decides for each of them whether SpargeAttn or dense attention
 * serves. It goes into plans; all threads that run them share it.
 */
interface CallSite {
  /** Why others serve a call that SpargeAttn could: without figures, as it is logged once. */
  String PAYS_NOT =
      "what calls like this one leave out doesn't pay; SparsityDecisions has the figures";

  /**
   * Decides a call and counts it. What the decision hands the kernels goes with the thread's next
   * run.
   *
   * @return whether it is sparse
   */
  boolean decide(AttentionRequest request);

  /** What is known of the site; null if it was forgotten. Counts nothing. */
  Standing standing(AttentionRequest request);

  /**
   * A site as it stands.
   *
   * @param known whether a call has reported yet
   * @param sparse whether leaving out pays
   * @param share of the blocks that is left out
   * @param needed the share from which it pays
   * @param calls how many were decided
   * @param sparseCalls how many of them were sparse
   */
  record Standing(
      boolean known, boolean sparse, float share, float needed, long calls, long sparseCalls) {

    /** One phrase. */
    String phrase() {
      String pays = "it pays from " + percent(needed) + " on";
      return known
          ? percent(share)
              + " of the blocks is left out and "
              + pays
              + " ("
              + sparseCalls
              + " of "
              + calls
              + " calls of this site were sparse)"
          : "no call of this site has reported yet what it leaves out; " + pays;
    }

    private static String percent(float share) {
      return Math.round(1000 * share) / 10.0 + " %";
    }
  }
}
