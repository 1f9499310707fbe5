package org.attn4j;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Predicate;
import java.util.stream.Collectors;

/**
 * Which keys each query sees, and what is added to its scores: {@code softmax(smScale * q k^T +
 * mask)}. Immutable; one mask serves any number of requests whose sizes it fits. It holds tensors
 * of the caller's, or rules, which need no memory.
 *
 * <p>{@link #and} joins masks: a key is seen if all of them show it, and what they add is added up.
 * A causal mask of the options and {@link AttentionRequest#kvLengths} hold besides. What is hidden
 * has no part in the result, whatever lies there: NaN and infinities stay where they are seen. A
 * query that sees no key gets a zero row and an LSE of -infinity.
 *
 * <p>Rules that speak of positions put query i at the position {@code i + keys - queries}: the last
 * query stands at the last key, as in decoding with a KV cache. With as many queries as keys that
 * is i.
 */
public final class AttentionMask {
  private final List<MaskPart> parts;
  private final AttentionTensor seen;
  private final AttentionTensor bias;
  private final MaskRules.Run window;
  private final String deviceObstacle;

  private AttentionMask(List<MaskPart> parts) {
    this.parts = parts;
    List<AttentionTensor> seens = tensors(part -> part.kind() != TensorMask.Kind.BIAS);
    List<AttentionTensor> biases = tensors(part -> part.kind() == TensorMask.Kind.BIAS);
    seen = seens.isEmpty() ? null : seens.get(0);
    bias = biases.isEmpty() ? null : biases.get(0);
    window = window();
    deviceObstacle = obstacle(seens.size(), biases.size());
  }

  private List<AttentionTensor> tensors(Predicate<TensorMask> wanted) {
    return parts.stream()
        .filter(part -> part instanceof TensorMask tensor && wanted.test(tensor))
        .map(MaskPart::tensor)
        .toList();
  }

  private String obstacle(int seens, int biases) {
    int windows = 0;
    for (MaskPart part : parts) {
      if (part instanceof MaskRules.Run) {
        windows++;
      } else if (!(part instanceof TensorMask)) {
        return "mask has the rule "
            + part
            + "; of rules GPU kernels read sliding windows and prefix-LM alone";
      }
    }
    return seens < 2 && biases < 2 && windows < 2
        ? null
        : "mask has "
            + seens
            + " tensors of keys or pairs, "
            + biases
            + " of biases and "
            + windows
            + " windows; GPU kernels read one of each";
  }

  private MaskRules.Run window() {
    for (MaskPart part : parts) {
      if (part instanceof MaskRules.Run run) {
        return run;
      }
    }
    return null;
  }

  private static AttentionMask of(MaskPart part) {
    return new AttentionMask(List.of(part));
  }

  /**
   * Keys that count, per batch entry: INT8 (batch or 1, keys), any strides; not 0: seen. Padding
   * anywhere in the sequence.
   *
   * @param seen not 0 where a key counts
   * @return the mask
   */
  public static AttentionMask keys(AttentionTensor seen) {
    return of(new TensorMask(TensorMask.Kind.KEYS, seen));
  }

  /**
   * Pairs that count: INT8 (batch or 1, headsQ or 1, queries or 1, keys or 1), any strides,
   * whatever the layout of q; not 0: seen. A size of 1 stands for all.
   *
   * @param seen not 0 where a key counts
   * @return the mask
   */
  public static AttentionMask pairs(AttentionTensor seen) {
    return of(new TensorMask(TensorMask.Kind.PAIRS, seen));
  }

  /**
   * What is added to the scores after scaling: FLOAT16, BFLOAT16 or FLOAT32 of the sizes of {@link
   * #pairs}, any strides. -infinity hides a key.
   *
   * @param addends the numbers that are added
   * @return the mask
   */
  public static AttentionMask bias(AttentionTensor addends) {
    return of(new TensorMask(TensorMask.Kind.BIAS, addends));
  }

  /**
   * A query at position p sees the keys {@code p - left} to {@code p + right}. With {@code right}
   * 0: the causal window of Mistral.
   *
   * @param left keys before the query's own, 0 or more; Long.MAX_VALUE: all
   * @param right keys behind it, likewise
   * @return the mask
   */
  public static AttentionMask slidingWindow(long left, long right) {
    requireAtLeast("left", left, 0);
    requireAtLeast("right", right, 0);
    return of(new MaskRules.Window(left, right));
  }

  /**
   * All queries see the first {@code prefix} keys; the others are seen from their own position on:
   * causal behind a prefix that sees itself whole.
   *
   * @param prefix how many keys all queries see
   * @return the mask
   */
  public static AttentionMask prefixLm(long prefix) {
    requireAtLeast("prefix", prefix, 0);
    return of(new MaskRules.PrefixLm(prefix));
  }

  /**
   * Documents side by side in one sequence, each of which sees itself alone.
   *
   * @param lengths of the documents, in order; together as many as there are queries, and keys
   * @return the mask
   */
  public static AttentionMask blockDiagonal(long... lengths) {
    return blockDiagonal(lengths, lengths);
  }

  /**
   * As {@link #blockDiagonal(long...)} with other keys than queries: the queries of document n see
   * its keys.
   *
   * @param queryLengths together as many as there are queries
   * @param keyLengths as many documents; together as many as there are keys
   * @return the mask
   */
  public static AttentionMask blockDiagonal(long[] queryLengths, long[] keyLengths) {
    requireLengths("queryLengths", queryLengths);
    requireLengths("keyLengths", keyLengths);
    if (queryLengths.length != keyLengths.length) {
      throw new InvalidAttentionArgumentException(
          "keyLengths has "
              + keyLengths.length
              + " entries and queryLengths "
              + queryLengths.length
              + "; they must agree");
    }
    return of(MaskRules.BlockDiagonal.of(queryLengths, keyLengths));
  }

  /**
   * A sliding window with gaps: a query at position p sees the keys {@code p + step * n} for n from
   * {@code -left} to {@code right} (Longformer, arXiv:2004.05150, section 3.1).
   *
   * @param left keys before the query's own, 0 or more
   * @param right keys behind it, 0 or more
   * @param step the distance between them, 1 or more
   * @return the mask
   */
  public static AttentionMask dilated(long left, long right, long step) {
    requireAtLeast("left", left, 0);
    requireAtLeast("right", right, 0);
    requireAtLeast("step", step, 1);
    return of(new MaskRules.Dilated(left, right, step));
  }

  /**
   * Neighbourhood attention (arXiv:2204.07143): tokens lie on a grid, the last dimension running
   * fastest, and each sees the window of the grid around it. At the edges the window is moved
   * inside, so that every token sees as many. For as many queries as keys as the grid has cells.
   *
   * @param grid 1 to 3 sizes, such as {frames, height, width}
   * @param window as many sizes, each from 1 to that of the grid; an even one has one more before
   * @return the mask
   */
  public static AttentionMask neighbourhood(int[] grid, int[] window) {
    return of(MaskRules.Neighbourhood.of(grid, window));
  }

  /**
   * ALiBi (arXiv:2108.12409): {@code -slope * |p - j|} is added to the score of a query at position
   * p and key j.
   *
   * @param slopes finite, one per query head
   * @return the mask
   */
  public static AttentionMask alibi(float... slopes) {
    if (slopes == null || slopes.length == 0) {
      throw new InvalidAttentionArgumentException(
          "slopes is " + (slopes == null ? "null" : "empty") + "; one per query head is needed");
    }
    for (int i = 0; i < slopes.length; i++) {
      if (!Float.isFinite(slopes[i])) {
        throw new InvalidAttentionArgumentException(
            "slopes[" + i + "] is " + slopes[i] + "; a finite number is accepted");
      }
    }
    return of(new MaskRules.Alibi(slopes.clone()));
  }

  private static void requireAtLeast(String name, long value, long least) {
    if (value < least) {
      throw new InvalidAttentionArgumentException(
          name + " is " + value + "; " + least + " or more is accepted");
    }
  }

  private static void requireLengths(String name, long[] lengths) {
    if (lengths == null || lengths.length == 0) {
      throw new InvalidAttentionArgumentException(
          name
              + " is "
              + (lengths == null ? "null" : "empty")
              + "; one length per document is needed");
    }
    long rest = Long.MAX_VALUE;
    for (int i = 0; i < lengths.length; i++) {
      requireAtLeast(name + "[" + i + "]", lengths[i], 0);
      if (lengths[i] > rest) {
        throw new InvalidAttentionArgumentException(
            name + " come to more than 2^63 - 1; as many as there are tokens are accepted");
      }
      rest -= lengths[i];
    }
  }

  /**
   * {@return what both let through: a key is seen if both show it, and what they add is added up}
   *
   * @param other the other one
   */
  public AttentionMask and(AttentionMask other) {
    if (other == null) {
      throw new InvalidAttentionArgumentException("other is null; a mask is needed");
    }
    List<MaskPart> all = new ArrayList<>(parts);
    all.addAll(other.parts);
    return new AttentionMask(List.copyOf(all));
  }

  /**
   * {@return the tensors that it reads; the caller keeps them open} Empty if it is of rules alone.
   */
  public List<AttentionTensor> tensors() {
    return parts.stream().map(MaskPart::tensor).filter(tensor -> tensor != null).toList();
  }

  /**
   * The first tensor of keys (rank 2) or pairs (rank 4).
   *
   * @return it, or null
   */
  public AttentionTensor seen() {
    return seen;
  }

  /**
   * The first tensor that is added.
   *
   * @return it, or null
   */
  public AttentionTensor bias() {
    return bias;
  }

  /**
   * How many keys before its own position a query sees by the first sliding window or prefix-LM.
   *
   * @return -1: all, or there is no such rule
   */
  public long windowLeft() {
    return window == null || window.left() == Long.MAX_VALUE ? -1 : window.left();
  }

  /**
   * How many keys behind its own position a query sees by the first sliding window or prefix-LM.
   *
   * @return -1: all, or there is no such rule
   */
  public long windowRight() {
    return window == null || window.right() == Long.MAX_VALUE ? -1 : window.right();
  }

  /**
   * How many keys every query sees besides by the first sliding window or prefix-LM.
   *
   * @return 0 for a window, or if there is no such rule
   */
  public long windowPrefix() {
    return window == null ? 0 : window.prefix();
  }

  /**
   * Why GPU kernels can't read this mask, whatever the request: it has a rule other than a sliding
   * window or prefix-LM, or more than one of a kind.
   *
   * @return one sentence, or null if they can
   */
  public String deviceObstacle() {
    return deviceObstacle;
  }

  /**
   * What the mask adds to the scores of some keys of a query; -infinity for one that it hides. The
   * causal mask and the lengths of a request are not looked at.
   *
   * @param dims the sizes of a request that the mask fits
   * @param batch the batch entry, from 0
   * @param head the query head, from 0
   * @param query the query, from 0
   * @param firstKey of the keys wanted
   * @param count how many; element n of {@code addends} is written for key {@code firstKey + n}
   * @param addends the numbers that are added
   * @throws InvalidAttentionArgumentException if a tensor of it is in device memory
   */
  public void read(
      AttentionDims dims,
      long batch,
      long head,
      long query,
      long firstKey,
      int count,
      double[] addends) {
    for (int j = 0; j < count; j++) {
      addends[j] = 0;
    }
    for (MaskPart part : parts) {
      part.addTo(new MaskPart.Keys(dims, batch, head, query, firstKey, count), addends);
    }
  }

  /**
   * The same mask as tensors in host memory: INT8 pairs of (batch or 1, headsQ or 1, queries, keys)
   * and, if anything is added, a FLOAT32 bias of the same sizes. For GPU kernels, which read no
   * other rules than windows: {@link DeviceTensor#copyOf} puts them on a GPU, once for any number
   * of requests.
   *
   * @param dims the sizes of a request that the mask fits
   * @return a mask of tensors in memory of their own, which the caller closes
   * @throws InvalidAttentionArgumentException if it doesn't fit, if a tensor of it is in device
   *     memory, or if the tensors would be larger than 2147483647 bytes
   */
  public AttentionMask toTensors(AttentionDims dims) {
    check(dims);
    long batch = parts.stream().anyMatch(MaskPart::isPerBatch) ? dims.batch() : 1;
    long heads = parts.stream().anyMatch(MaskPart::isPerHead) ? dims.headsQ() : 1;
    int keys = Math.toIntExact(dims.keys());
    HostTensor pairs = HostTensor.allocate(DType.INT8, batch, heads, dims.queries(), keys);
    HostTensor biases = null;
    double[] addends = new double[keys];
    float[] row = new float[keys];
    long rows = batch * heads * dims.queries();
    for (long n = 0; n < rows; n++) {
      long head = n / dims.queries();
      read(dims, head / heads, head % heads, n % dims.queries(), 0, keys, addends);
      boolean adds = false;
      for (int j = 0; j < keys; j++) {
        boolean hidden = addends[j] == Double.NEGATIVE_INFINITY;
        row[j] = hidden ? 0 : 1;
        adds |= !hidden && addends[j] != 0;
      }
      pairs.write(n * keys, 1, keys, row);
      if (adds) {
        if (biases == null) {
          biases = HostTensor.allocate(DType.FLOAT32, batch, heads, dims.queries(), keys);
        }
        for (int j = 0; j < keys; j++) {
          row[j] = (float) addends[j];
        }
        biases.write(n * keys, 1, keys, row);
      }
    }
    return biases == null ? pairs(pairs) : pairs(pairs).and(bias(biases));
  }

  /**
   * {@return the first key that a query may see by the rules: those before it are hidden}
   *
   * @param dims the sizes of the request
   * @param query the query, from 0
   */
  public long firstKey(AttentionDims dims, long query) {
    long first = 0;
    for (MaskPart part : parts) {
      first = Math.max(first, part.firstKey(dims, query));
    }
    return first;
  }

  /**
   * {@return behind the last key that a query may see by the rules: those from it on are hidden}
   *
   * @param dims the sizes of the request
   * @param query the query, from 0
   */
  public long endKey(AttentionDims dims, long query) {
    long end = dims.keys();
    for (MaskPart part : parts) {
      end = Math.min(end, part.endKey(dims, query));
    }
    return Math.max(0, end);
  }

  /** Whether it fits a request. */
  void check(AttentionDims dims) {
    for (MaskPart part : parts) {
      part.check(dims);
    }
  }

  /** What it is made of, for example {@code sliding window 4095/0 and keys INT8 [2, 512]}. */
  @Override
  public String toString() {
    return parts.stream().map(MaskPart::toString).collect(Collectors.joining(" and "));
  }
}
