package org.attn4j.pytorch.samples;

import static org.testng.Assert.assertTrue;

import org.attn4j.SdpaBackend;
import org.attn4j.pytorch.AttentionScope;
import org.attn4j.pytorch.Attn4j;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.testng.annotations.Test;

/** The sample's two outputs are the same. */
public class TransformerBlockTest {
  @Test
  @SuppressWarnings("try") // the scopes are there to be closed
  public void outputsAgree() {
    try (PointerScope scope = new PointerScope()) {
      torch.manual_seed(5);
      Tensor x = torch.randn(2, 65, 512);
      TransformerBlock block = new TransformerBlock(42, x);
      Tensor before = block.forward(x, TransformerBlock::pytorchAttention);
      Tensor dropIn = block.forward(x, Attn4j::attention);
      assertTrue(dropIn.equal(before), "PyTorch serves both");
      try (AttentionScope cpu = Attn4j.use(SdpaBackend.CPU)) {
        Tensor ours = block.forward(x, Attn4j::attention);
        // fp32 against fp32: rounding alone, of outputs up to 10.
        assertTrue(ours.allclose(before, 1e-4, 1e-4, false));
        assertTrue(TransformerBlock.cosine(ours, before) > 0.9999999);
      }
    }
  }
}
