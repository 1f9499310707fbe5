package org.attn4j.pytorch;

import org.bytedeco.pytorch.Tensor;

/**
 * What a mask amounts to. At most one of the three is set; none: nothing is masked.
 *
 * @param keyLengths INT32 (batch): the keys that count; the receiver closes it; or null
 * @param dense the mask itself, the caller's, which a request takes as it is; or null
 * @param obstacle why the mask can't be handed to our kernels; or null
 */
record MaskFinding(Tensor keyLengths, Tensor dense, String obstacle) implements AutoCloseable {
  static final MaskFinding NOTHING_MASKED = new MaskFinding(null, null, null);

  static MaskFinding refused(String obstacle) {
    return new MaskFinding(null, null, obstacle);
  }

  static MaskFinding dense(Tensor mask) {
    return new MaskFinding(null, mask, null);
  }

  @Override
  public void close() {
    if (keyLengths != null) {
      keyLengths.close();
    }
  }
}
