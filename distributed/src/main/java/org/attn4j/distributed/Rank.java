package org.attn4j.distributed;

import java.util.ArrayList;
import java.util.List;
import org.attn4j.DType;
import org.bytedeco.pytorch.Tensor;

/**
 * What one rank of a {@link SequenceAttention} is to do: its place in the layout, its heads, and
 * the buffers that it made for it.
 */
final class Rank implements AutoCloseable {
  final World world;
  final SequenceLayout layout;
  final AttentionShape shape;
  final HeadSplit split;
  final int cudaDevice;
  final int position;
  final int member;

  private final List<Tensor> buffers = new ArrayList<>();

  Rank(World world, SequenceLayout layout, AttentionShape shape, int cudaDevice) {
    this.world = world;
    this.layout = layout;
    this.shape = shape;
    this.cudaDevice = cudaDevice;
    SequenceMesh mesh = layout.mesh();
    split = new HeadSplit(shape.heads(), shape.kvHeads(), mesh.ulysses());
    position = mesh.position(world.rank());
    member = mesh.member(world.rank());
  }

  int ring() {
    return layout.mesh().ring();
  }

  int ulysses() {
    return layout.mesh().ulysses();
  }

  /** The tokens that this rank has. */
  long tokens() {
    return layout.length(world.rank());
  }

  /** The tokens of this rank's position. */
  long positionTokens() {
    return layout.positionLength(position);
  }

  /** The tokens whose queries this rank computes: its position's, and the joint ones. */
  long rows() {
    return positionTokens() + shape.joint();
  }

  int firstHead() {
    return split.first(member);
  }

  int headCount() {
    return split.count(member);
  }

  int kvCount() {
    return split.kvCount(member);
  }

  Exchange ringExchange() {
    return world.exchange(layout.mesh().ringRanks(world.rank()));
  }

  Exchange ulyssesExchange() {
    return world.exchange(layout.mesh().ulyssesRanks(world.rank()));
  }

  /** A buffer of the attention's type that lives as long as this object. */
  Tensor buffer(long... sizes) {
    return buffer(shape.type(), sizes);
  }

  Tensor buffer(DType type, long... sizes) {
    Tensor made = Tensors.keep(Tensors.empty(type, cudaDevice, sizes));
    buffers.add(made);
    return made;
  }

  long bufferBytes() {
    return buffers.stream().mapToLong(buffer -> buffer.numel() * buffer.element_size()).sum();
  }

  @Override
  public void close() {
    buffers.forEach(Tensor::close);
    buffers.clear();
  }
}
