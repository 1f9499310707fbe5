package org.attn4j.pytorch.samples;

import java.util.Locale;
import org.attn4j.SdpaBackend;
import org.attn4j.pytorch.AttentionScope;
import org.attn4j.pytorch.Attn4j;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.DeviceType;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * A transformer block with weights from a fixed seed, run with PyTorch's SDPA and with the drop-in:
 * layer norm, attention, layer norm, MLP, with residuals, as in a DiT or a ViT. The main runs both
 * on the GPU if there is one, else on the CPU with our CPU backend, and compares them.
 */
public final class TransformerBlock {
  private static final int CHANNELS = 512;
  private static final int HEADS = 8;

  private final Tensor toQkv; // [3 * channels, channels]
  private final Tensor toOut; // [channels, channels]
  private final Tensor up; // [4 * channels, channels]
  private final Tensor down; // [channels, 4 * channels]

  /** Draws the weights on the device of {@code like} and in its type. */
  public TransformerBlock(long seed, Tensor like) {
    torch.manual_seed(seed);
    toQkv = weight(3 * CHANNELS, CHANNELS, like);
    toOut = weight(CHANNELS, CHANNELS, like);
    up = weight(4 * CHANNELS, CHANNELS, like);
    down = weight(CHANNELS, 4 * CHANNELS, like);
  }

  private static Tensor weight(long rows, long columns, Tensor like) {
    return torch.randn(rows, columns).mul(new Scalar(1 / Math.sqrt(columns))).to(like);
  }

  /** Attention over (batch, sequence, channels) tensors. */
  @FunctionalInterface
  public interface HeadsAttention {
    /** The attention of each query over all keys, head by head. */
    Tensor apply(Tensor query, Tensor key, Tensor value, int heads);
  }

  /** The block's output for x of (batch, sequence, channels). */
  public Tensor forward(Tensor x, HeadsAttention attention) {
    Tensor qkv = torch.linear(torch.layer_norm(x, CHANNELS), toQkv);
    Tensor q = qkv.narrow(2, 0, CHANNELS); // views: nothing is copied
    Tensor k = qkv.narrow(2, CHANNELS, CHANNELS);
    Tensor v = qkv.narrow(2, 2 * CHANNELS, CHANNELS);
    Tensor mixed = x.add(torch.linear(attention.apply(q, k, v, HEADS), toOut));
    Tensor hidden = torch.gelu(torch.linear(torch.layer_norm(mixed, CHANNELS), up));
    return mixed.add(torch.linear(hidden, down));
  }

  /** What a program writes without attn4j. */
  public static Tensor pytorchAttention(Tensor q, Tensor k, Tensor v, int heads) {
    Tensor out =
        torch.scaled_dot_product_attention(split(q, heads), split(k, heads), split(v, heads));
    return out.transpose(1, 2).reshape(q.size(0), q.size(1), q.size(2));
  }

  private static Tensor split(Tensor t, int heads) {
    return t.view(t.size(0), t.size(1), heads, t.size(2) / heads).transpose(1, 2);
  }

  /** Cosine similarity of all elements. */
  public static double cosine(Tensor a, Tensor b) {
    Tensor x = a.to(ScalarType.Double);
    Tensor y = b.to(ScalarType.Double);
    double squares = x.mul(x).sum().item_double() * y.mul(y).sum().item_double();
    return x.mul(y).sum().item_double() / Math.sqrt(squares);
  }

  /** Runs the block both ways and prints how the outputs compare. */
  @SuppressWarnings("try") // scope and guard are there to be closed
  public static void main(String[] args) {
    try (PointerScope scope = new PointerScope();
        NoGradGuard inference = new NoGradGuard()) {
      boolean gpu = torch.cuda_is_available();
      torch.manual_seed(1);
      Tensor x = torch.randn(2, 1024, CHANNELS);
      if (gpu) {
        x = x.to(new Device(DeviceType.CUDA), ScalarType.Half);
      }
      TransformerBlock block = new TransformerBlock(42, x);
      Tensor before = block.forward(x, TransformerBlock::pytorchAttention);
      Tensor after;
      try (AttentionScope ours = Attn4j.use(gpu ? SdpaBackend.AUTO : SdpaBackend.CPU)) {
        after = block.forward(x, Attn4j::attention);
      }
      System.out.printf(
          Locale.ROOT,
          "transformer block on the %s: cosine similarity of the outputs %.6f%n",
          gpu ? "GPU" : "CPU",
          cosine(after, before));
    }
  }
}
