package org.attn4j.torch;

import java.nio.file.Path;
import org.bytedeco.pytorch.JitModule;
import org.bytedeco.pytorch.QualifiedName;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Writes a TorchScript file with a small diffusion transformer: blocks of modulated layer norm,
 * fused projection, attention, and an MLP. Its weights are random numbers from a seed, so that the
 * same file comes out everywhere; what it computes means nothing, what it takes to compute does.
 *
 * <p>forward(x (batch, tokens, width), step (batch, 1, width)) gives (batch, tokens, width).
 *
 * <pre>ModelFile FILE WIDTH HEADS BLOCKS TYPE</pre>
 */
final class ModelFile {
  private static final long SEED = 18;

  private ModelFile() {}

  public static void main(String[] arguments) {
    write(
        Path.of(arguments[0]),
        Integer.parseInt(arguments[1]),
        Integer.parseInt(arguments[2]),
        Integer.parseInt(arguments[3]),
        ScalarType.valueOf(arguments[4]));
  }

  static void write(Path file, int width, int heads, int blocks, ScalarType type) {
    torch.manual_seed(SEED);
    JitModule model = new JitModule(new QualifiedName("__torch__.DiffusionTransformer"));
    add(model, "qkv", type, blocks, width, 3L * width);
    add(model, "proj", type, blocks, width, width);
    add(model, "up", type, blocks, width, 4L * width);
    add(model, "down", type, blocks, 4L * width, width);
    model.define(source(width, heads, blocks));
    model.eval();
    model.save(file.toString());
  }

  /** One matrix for each block, (blocks, in, out). */
  private static void add(
      JitModule model, String name, ScalarType type, long blocks, long in, long out) {
    Tensor weights =
        torch
            .randn(new long[] {blocks, in, out}, new TensorOptions())
            .div(new Scalar(Math.sqrt(in)))
            .to(type);
    model.register_parameter(name, weights, false);
  }

  private static String source(int width, int heads, int blocks) {
    return ("def forward(self, x, step):\n"
            + "    batch, tokens = x.size(0), x.size(1)\n"
            + "    for i in range(BLOCKS):\n"
            + "        h = torch.layer_norm(x, [WIDTH]) * (1 + step)\n"
            + "        qkv = torch.matmul(h, self.qkv[i]).reshape(batch, tokens, 3, HEADS, DIM)\n"
            + "        qkv = qkv.permute(2, 0, 3, 1, 4)\n"
            + "        a = torch.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])\n"
            + "        a = a.transpose(1, 2).reshape(batch, tokens, WIDTH)\n"
            + "        x = x + torch.matmul(a, self.proj[i])\n"
            + "        h = torch.gelu(torch.matmul(torch.layer_norm(x, [WIDTH]), self.up[i]))\n"
            + "        x = x + torch.matmul(h, self.down[i])\n"
            + "    return x\n")
        .replace("BLOCKS", "" + blocks)
        .replace("WIDTH", "" + width)
        .replace("HEADS", "" + heads)
        .replace("DIM", "" + width / heads);
  }
}
