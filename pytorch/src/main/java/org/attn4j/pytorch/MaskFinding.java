package org.attn4j.pytorch;

import org.bytedeco.pytorch.Tensor;

/**
 * What a mask amounts to. At most one of the two is set; neither: nothing is masked.
 *
 * @param keyLengths INT32 (batch): the keys that count; the receiver closes it; or null
 * @param obstacle why the mask can't be handed to our kernels; or null
 */
record MaskFinding(Tensor keyLengths, String obstacle) implements AutoCloseable {
  static final MaskFinding NOTHING_MASKED = new MaskFinding(null, null);

  static MaskFinding refused(String obstacle) {
    return new MaskFinding(null, obstacle);
  }

  @Override
  public void close() {
    if (keyLengths != null) {
      keyLengths.close();
    }
  }
}
