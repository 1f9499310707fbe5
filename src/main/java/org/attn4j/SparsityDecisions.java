package org.attn4j;

import java.util.List;
import java.util.Objects;
import org.attn4j.backend.CallSites;

/**
 * What this process has learnt about its call sites: where leaving blocks out pays, and for which
 * heads ({@link SparsityRule}). Immutable; a {@link SparsityProfiles} file keeps it.
 *
 * <pre>{@code
 * SparsityProfiles.of("model", Map.of()).withDecisions(SparsityDecisions.ofThisProcess()).save(file);
 * // in another process, before the model runs with SparsityRule.FROZEN
 * SparsityProfiles.load(file).decisions().restore();
 * }</pre>
 */
public final class SparsityDecisions {
  /** No site. */
  public static final SparsityDecisions NONE = new SparsityDecisions(List.of());

  private final List<Site> sites;

  private SparsityDecisions(List<Site> sites) {
    this.sites = List.copyOf(sites);
  }

  /**
   * Some sites.
   *
   * @param sites the sites
   * @return what is known of them
   * @throws InvalidAttentionArgumentException if one of them is null
   */
  public static SparsityDecisions of(List<Site> sites) {
    if (sites == null || sites.stream().anyMatch(Objects::isNull)) {
      throw new InvalidAttentionArgumentException(
          (sites == null ? "sites" : "a site") + " is null; a value is needed");
    }
    return new SparsityDecisions(sites);
  }

  /** {@return the sites of this process, those used last first; none without a native library} */
  public static SparsityDecisions ofThisProcess() {
    return new SparsityDecisions(CallSites.list());
  }

  /** {@return the sites} */
  public List<Site> sites() {
    return sites;
  }

  /**
   * Lets this process know these sites as they stand here. Sites that it knows besides stay. Does
   * nothing without a native library, as then nothing is sparse.
   *
   * @throws InvalidAttentionArgumentException if a share isn't one
   */
  public void restore() {
    CallSites.restore(sites);
  }

  /** Forgets what this process has learnt. */
  public static void forget() {
    CallSites.forget();
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof SparsityDecisions that && sites.equals(that.sites);
  }

  @Override
  public int hashCode() {
    return sites.hashCode();
  }

  @Override
  public String toString() {
    return sites.toString();
  }

  /** Whether leaving out pays at a site. */
  public enum State {
    /** No call has reported yet. */
    UNKNOWN,
    /** It pays. */
    SPARSE,
    /** It doesn't. */
    DENSE
  }

  /**
   * What makes two calls one site. Numbers that the native library alone reads are kept as they
   * are.
   *
   * @param caller a number made of {@link AttentionOptions#callSite}; 0: no name
   * @param batch entries
   * @param queries per head
   * @param keys per head
   * @param headsQ heads of queries
   * @param headsKv heads of keys and values
   * @param headDim channels
   * @param numbers data type, function, causal mask and flags, as site.h has them
   * @param thresholds scale, simthreshd1, cdfthreshd, topk and pvthreshd
   */
  public record Key(
      long caller,
      long batch,
      long queries,
      long keys,
      int headsQ,
      int headsKv,
      int headDim,
      List<Integer> numbers,
      List<Float> thresholds) {

    /** How many {@link #numbers} and {@link #thresholds} there are. */
    static final int NUMBERS = 4;

    static final int THRESHOLDS = 5;

    /**
     * Checks the lists.
     *
     * @param caller as above
     * @param batch as above
     * @param queries as above
     * @param keys as above
     * @param headsQ as above
     * @param headsKv as above
     * @param headDim as above
     * @param numbers four
     * @param thresholds five
     */
    public Key {
      if (numbers.size() != NUMBERS || thresholds.size() != THRESHOLDS) {
        throw new InvalidAttentionArgumentException(
            "a site has "
                + numbers.size()
                + " numbers and "
                + thresholds.size()
                + " thresholds; 4 and 5 are needed");
      }
      numbers = List.copyOf(numbers);
      thresholds = List.copyOf(thresholds);
    }
  }

  /**
   * A site as it stands.
   *
   * @param key what makes two calls one site
   * @param state whether leaving out pays
   * @param share of the blocks that is left out; heads that run dense count as 0
   * @param needed the share from which it is estimated to pay
   * @param denseHeads the query heads that leave out too little, and compute all within sparse
   *     calls; of the first 256
   * @param calls how many were decided in this process
   * @param sparseCalls how many of them were sparse
   */
  public record Site(
      Key key,
      State state,
      float share,
      float needed,
      List<Integer> denseHeads,
      long calls,
      long sparseCalls) {
    private static final int MAX_HEADS = 256;

    /**
     * Checks what the library doesn't.
     *
     * @param key as above
     * @param state as above
     * @param share as above
     * @param needed as above
     * @param denseHeads as above
     * @param calls as above
     * @param sparseCalls as above
     */
    public Site {
      if (key == null || state == null || denseHeads == null) {
        throw new InvalidAttentionArgumentException(
            (key == null ? "key" : state == null ? "state" : "denseHeads")
                + " is null; a value is needed");
      }
      for (int head : denseHeads) {
        if (head < 0 || head >= MAX_HEADS) {
          throw new InvalidAttentionArgumentException(
              "denseHeads holds " + head + "; 0 to 255 are accepted");
        }
      }
      denseHeads = List.copyOf(denseHeads);
    }
  }
}
