package org.attn4j.distributed;

import java.util.ArrayList;
import java.util.List;
import org.attn4j.CausalMask;
import org.attn4j.InvalidAttentionArgumentException;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;

/**
 * Which rank has which tokens of a sequence: the only place that knows.
 *
 * <p>The sequence is cut into pieces, one for each position of the ring; with a causal mask into
 * two each, the i-th and the i-th from the end (zig-zag), so that all positions have the same work.
 * Pieces are multiples of the key tile, but for the last, and differ by at most one tile. The
 * members of a position divide its tokens evenly, in order. Any number of tokens is accepted; a
 * rank may have none.
 *
 * <p>Immutable. The same on every rank.
 */
public final class SequenceLayout {
  private final long tokens;
  private final SequenceMesh mesh;
  private final boolean causal;
  private final boolean zigzag;
  private final int keyTile;

  private SequenceLayout(
      long tokens, SequenceMesh mesh, boolean causal, boolean zigzag, int keyTile) {
    this.tokens = tokens;
    this.mesh = mesh;
    this.causal = causal;
    this.zigzag = zigzag;
    this.keyTile = keyTile;
  }

  /**
   * The layout of a sequence.
   *
   * @param tokens their number, 1 or more
   * @param mesh the ranks
   * @param mask NONE, or a causal one: both are the same where there are as many queries as keys
   * @return the layout
   */
  public static SequenceLayout of(long tokens, SequenceMesh mesh, CausalMask mask) {
    if (tokens < 1) {
      throw new InvalidAttentionArgumentException(
          "tokens is " + tokens + "; 1 or more are accepted");
    }
    if (mesh == null || mask == null) {
      throw new InvalidAttentionArgumentException(
          (mesh == null ? "mesh is null; a SequenceMesh" : "mask is null; a CausalMask")
              + " is needed");
    }
    boolean causal = mask != CausalMask.NONE;
    return new SequenceLayout(tokens, mesh, causal, causal && mesh.ring() > 1, 1);
  }

  /**
   * The same with pieces that are multiples of this number of tokens, but for the last.
   *
   * @param value tokens, 1 or more
   * @return the changed copy
   */
  public SequenceLayout withKeyTile(int value) {
    if (value < 1) {
      throw new InvalidAttentionArgumentException(
          "keyTile is " + value + "; 1 or more is accepted");
    }
    return new SequenceLayout(tokens, mesh, causal, zigzag, value);
  }

  /**
   * The same with one run of tokens for each position; with a causal mask the last has the most
   * work.
   *
   * @return the changed copy
   */
  public SequenceLayout withoutZigzag() {
    return new SequenceLayout(tokens, mesh, causal, false, keyTile);
  }

  /**
   * The number of tokens of the whole sequence.
   *
   * @return 1 or more
   */
  public long tokens() {
    return tokens;
  }

  /**
   * The ranks that share it.
   *
   * @return the mesh
   */
  public SequenceMesh mesh() {
    return mesh;
  }

  /**
   * Whether a token sees those before it and itself alone.
   *
   * @return whether there is a causal mask
   */
  public boolean isCausal() {
    return causal;
  }

  /**
   * Whether a position has two pieces.
   *
   * @return whether pieces come in pairs
   */
  public boolean isZigzag() {
    return zigzag;
  }

  /**
   * Pieces are multiples of this number of tokens.
   *
   * @return tokens, 1 or more
   */
  public int keyTile() {
    return keyTile;
  }

  private TokenRange piece(int index) {
    int pieces = zigzag ? 2 * mesh.ring() : mesh.ring();
    long tiles = (tokens + keyTile - 1) / keyTile;
    long from = Math.multiplyExact(tiles, (long) index) / pieces * keyTile;
    long to = Math.multiplyExact(tiles, (long) index + 1) / pieces * keyTile;
    return new TokenRange(Math.min(tokens, from), Math.min(tokens, to));
  }

  /** A ring position's tokens in order: one or two ranges, which may be empty. */
  List<TokenRange> positionRanges(int position) {
    return zigzag
        ? List.of(piece(position), piece(2 * mesh.ring() - 1 - position))
        : List.of(piece(position));
  }

  long positionLength(int position) {
    return positionRanges(position).stream().mapToLong(TokenRange::length).sum();
  }

  /** The longest position. */
  long longestPosition() {
    long longest = 0;
    for (int position = 0; position < mesh.ring(); position++) {
      longest = Math.max(longest, positionLength(position));
    }
    return longest;
  }

  /** The part of a position's tokens, counted from its first, that one of its members has. */
  TokenRange slice(int position, int member) {
    long length = positionLength(position);
    int members = mesh.ulysses();
    return new TokenRange(length * member / members, length * (member + 1) / members);
  }

  /**
   * The number of tokens that a rank has.
   *
   * @param rank the number of a rank, from 0
   * @return tokens, perhaps 0
   */
  public long length(int rank) {
    return slice(mesh.position(rank), mesh.member(rank)).length();
  }

  /**
   * A rank's tokens in the order in which it has them: what rotary positions need. None is empty.
   *
   * @param rank the number of a rank, from 0
   * @return ranges, perhaps none
   */
  public List<TokenRange> ranges(int rank) {
    TokenRange slice = slice(mesh.position(rank), mesh.member(rank));
    List<TokenRange> ranges = new ArrayList<>();
    long passed = 0;
    for (TokenRange piece : positionRanges(mesh.position(rank))) {
      long from = Math.max(slice.from() - passed, 0);
      long to = Math.min(slice.to() - passed, piece.length());
      if (from < to) {
        ranges.add(new TokenRange(piece.from() + from, piece.from() + to));
      }
      passed += piece.length();
    }
    return ranges;
  }

  /**
   * A rank's tokens of a whole tensor, contiguous. The caller closes it.
   *
   * @param dimension the one that counts tokens; negative ones count from the end
   * @param whole with all tokens
   * @param rank the number of a rank, from 0
   * @return the rank's tokens
   */
  public Tensor shard(Tensor whole, int dimension, int rank) {
    int at = dimension < 0 ? dimension + (int) whole.dim() : dimension;
    if (at < 0 || at >= whole.dim() || whole.size(at) != tokens) {
      throw new InvalidAttentionArgumentException(
          "dimension "
              + dimension
              + " of the tensor "
              + (at < 0 || at >= whole.dim() ? "does not exist" : "has " + whole.size(at))
              + "; the layout has "
              + tokens
              + " tokens");
    }
    return Tensors.scoped(
        () -> {
          TensorVector parts = new TensorVector();
          for (TokenRange range : ranges(rank)) {
            parts.push_back(whole.narrow(at, range.from(), range.length()));
          }
          return parts.empty() ? whole.narrow(at, 0, 0).clone() : torch.cat(parts, at);
        });
  }

  /**
   * Collective: the whole tensor, on every rank, from the ranks' tokens. The caller closes it.
   *
   * @param shard this rank's tokens
   * @param dimension the one that counts tokens; negative ones count from the end
   * @param world the ranks
   * @return all tokens
   * @throws RankException if a peer was lost or did not answer in time
   */
  public Tensor gather(World world, Tensor shard, int dimension) {
    return Gather.whole(world, this, shard, dimension);
  }

  /** What has to be the same on all ranks. */
  String description() {
    return "tokens="
        + tokens
        + ", "
        + mesh.description()
        + ", causal="
        + causal
        + ", zigzag="
        + zigzag
        + ", keyTile="
        + keyTile;
  }

  @Override
  public String toString() {
    return "SequenceLayout[" + description() + "]";
  }
}
