package org.attn4j.pytorch;

import org.attn4j.TensorLayout;

/** How a PyTorch tensor holds batch, head, sequence and channel. */
enum Packing {
  /** (batch, head, sequence, channel): what torch.scaled_dot_product_attention takes. */
  HND(4),
  /** (batch, sequence, head, channel). */
  NHD(4),
  /** (batch, sequence, channel): one head. */
  SINGLE_HEAD(3),
  /** (batch, sequence, head * channel): what the projections of a transformer put out. */
  PACKED_HEADS(3);

  private final int rank;

  Packing(int rank) {
    this.rank = rank;
  }

  /** The number of dimensions. */
  int rank() {
    return rank;
  }

  static Packing of(TensorLayout layout) {
    return layout == TensorLayout.HND ? HND : NHD;
  }
}
