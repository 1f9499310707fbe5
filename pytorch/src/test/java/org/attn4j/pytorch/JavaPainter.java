package org.attn4j.pytorch;

import java.util.HashMap;
import java.util.Map;
import org.bytedeco.pytorch.JitModule;
import org.bytedeco.pytorch.NamedTensor;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.bytedeco.pytorch.named_parameter_iterator;
import org.bytedeco.pytorch.named_parameter_list;

/**
 * The diffusion transformer of samples/model/model.py, written in Java over PyTorch's tensors, with
 * the weights of its TorchScript file and whatever attention it is given: a program whose author
 * can put the drop-in in.
 */
final class JavaPainter {
  private static final long HEAD_DIM = 64;
  private static final int PATCH = 2;
  private static final int OCTAVES = 4;
  private static final int TIME_FEATURES = 64;
  private static final double GRID = 64;
  private static final int TURNS = 16; // pairs that RoPE turns in each direction
  private static final TensorOptional NONE = new TensorOptional().retainReference();

  /** softmax(q k^T / sqrt(64)) v over tensors (batch, heads, tokens, 64). */
  interface Attend {
    Tensor apply(Tensor q, Tensor k, Tensor v);
  }

  private final Map<String, Tensor> weights = new HashMap<>();
  private final Attend attend;

  /**
   * @param file the loaded file, on its device and in its type already
   */
  JavaPainter(JitModule file, Attend attend) {
    this.attend = attend;
    named_parameter_list list = file.named_parameters();
    named_parameter_iterator next = list.begin();
    for (long i = 0; i < list.size(); i++, next.increment()) {
      NamedTensor weight = next.multiply();
      weights.put(weight.name().getString(), new Tensor(weight.value()).retainReference());
    }
  }

  /**
   * @param picture (batch, 3, height, width)
   * @param phi (batch), fp32
   * @param words (batch, 4), int64
   * @return v, of the picture's sizes and type
   */
  Tensor forward(Tensor picture, Tensor phi, Tensor words) {
    long batch = picture.size(0);
    long height = picture.size(2) / PATCH;
    long width = picture.size(3) / PATCH;
    ScalarType type = picture.scalar_type();
    Tensor at = positions(height, width, picture);
    Tensor tokens =
        picture
            .reshape(batch, 3, height, PATCH, width, PATCH)
            .permute(0, 2, 4, 1, 3, 5)
            .reshape(batch, height * width, 3 * PATCH * PATCH);
    Tensor place = place(at, height).to(type).unsqueeze(0).expand(batch, -1, -1);
    Tensor x = linear("patch_in", cat(-1, tokens, place));
    Tensor text = torch.embedding(weights.get("words.weight"), words);
    Tensor silu = torch.silu(condition(phi, type).add(text.mean(1)));
    Tensor mod = linear("mod", silu).reshape(batch, 6, -1);
    Tensor turn = powers(100, TURNS, -1.0 / TURNS, picture);
    Tensor angles = at.mul(new Scalar(GRID)).unsqueeze(-1).mul(turn);
    Tensor cos = angles.cos().to(type);
    Tensor sin = angles.sin().to(type);
    for (int i = 0; weights.containsKey("blocks." + i + ".table"); i++) {
      x = block("blocks." + i + ".", x, mod, text, cos, sin, height);
    }
    Tensor last = linear("last_mod", silu).reshape(batch, 2, 1, -1);
    return linear("patch_out", modulated(x, last, 0))
        .reshape(batch, height, width, 3, PATCH, PATCH)
        .permute(0, 3, 1, 4, 2, 5)
        .reshape(batch, 3, height * PATCH, width * PATCH);
  }

  private Tensor block(
      String name, Tensor x, Tensor mod, Tensor words, Tensor cos, Tensor sin, long height) {
    Tensor shift = mod.add(weights.get(name + "table")).unsqueeze(2);
    TensorVector qkv = linear(name + "qkv", modulated(x, shift, 0)).chunk(3, -1);
    Tensor q = rotate(split(qkv.get(0)), cos, sin);
    Tensor k = rotate(split(qkv.get(1)), cos, sin);
    Tensor self = join(attend.apply(q, k, split(qkv.get(2))));
    Tensor h = x.add(shift.select(1, 2).mul(linear(name + "out", self)));
    TensorVector kv = linear(name + "cross_kv", words).chunk(2, -1);
    Tensor queries = split(linear(name + "cross_q", norm(h)));
    Tensor cross = attend.apply(queries, split(kv.get(0)), split(kv.get(1)));
    h = h.add(linear(name + "cross_out", join(cross)));
    Tensor y = linear(name + "up", modulated(h, shift, 3));
    Tensor grid = y.transpose(1, 2).reshape(y.size(0), y.size(2), height, -1);
    y = y.add(near(name, grid).flatten(2, -1).transpose(1, 2));
    return h.add(shift.select(1, 5).mul(linear(name + "down", torch.gelu(y, "tanh"))));
  }

  /** The centre of each token, from 0 to 1: (2, tokens), y and x. */
  private static Tensor positions(long height, long width, Tensor like) {
    Tensor y = centres(height, like).unsqueeze(1).expand(height, width);
    Tensor x = centres(width, like).unsqueeze(0).expand(height, width);
    return torch.stack(new TensorVector(y, x), 0).flatten(1, -1);
  }

  private static Tensor centres(long count, Tensor like) {
    return count(count, like).add(new Scalar(0.5)).div(new Scalar(count));
  }

  private static Tensor count(long count, Tensor like) {
    return torch.arange(new Scalar(count), Torch.options(ScalarType.Float, like.is_cuda()));
  }

  private static Tensor place(Tensor at, long height) {
    Tensor waves =
        at.unsqueeze(-1)
            .mul(powers(2, OCTAVES, 1, at).mul(new Scalar(2.0)))
            .mul(new Scalar(Math.PI));
    Tensor y = waves.select(0, 0);
    Tensor x = waves.select(0, 1);
    Tensor scale =
        torch.full(
            new long[] {at.size(1), 1},
            new Scalar(Math.log(height / 32.0)),
            Torch.options(ScalarType.Float, at.is_cuda()));
    return torch.cat(new TensorVector(y.sin(), y.cos(), x.sin(), x.cos(), scale), -1);
  }

  /** base to the power of 0, step, 2 step and so on. */
  private static Tensor powers(double base, long count, double step, Tensor like) {
    return torch.pow(new Scalar(base), count(count, like).mul(new Scalar(step)));
  }

  private Tensor condition(Tensor phi, ScalarType type) {
    Tensor rates = powers(1.1, TIME_FEATURES, 1, phi).mul(new Scalar(0.5));
    Tensor angles = phi.unsqueeze(1).mul(rates);
    Tensor features = cat(-1, angles.sin(), angles.cos()).to(type);
    return linear("time_out", torch.silu(linear("time_in", features)));
  }

  /** norm(x) * (1 + shift[first]) + shift[first + 1]; shift: (batch, n, 1, channels). */
  private static Tensor modulated(Tensor x, Tensor shift, long first) {
    Tensor scale = shift.select(1, first).add(new Scalar(1.0));
    return norm(x).mul(scale).add(shift.select(1, first + 1));
  }

  private static Tensor norm(Tensor x) {
    return torch.layer_norm(x, new long[] {x.size(-1)}, NONE, NONE, 1e-6, true);
  }

  /** x: (batch, heads, tokens, 64); the first half turns with y, the second with x. */
  private static Tensor rotate(Tensor x, Tensor cos, Tensor sin) {
    TensorVector parts = new TensorVector();
    for (int i = 0; i < 2; i++) {
      Tensor a = x.narrow(-1, 2 * TURNS * i, TURNS);
      Tensor b = x.narrow(-1, 2 * TURNS * i + TURNS, TURNS);
      Tensor c = cos.select(0, i);
      Tensor s = sin.select(0, i);
      parts.push_back(a.mul(c).sub(b.mul(s)));
      parts.push_back(b.mul(c).add(a.mul(s)));
    }
    return torch.cat(parts, -1);
  }

  private static Tensor split(Tensor x) {
    return x.reshape(x.size(0), x.size(1), -1, HEAD_DIM).transpose(1, 2);
  }

  private static Tensor join(Tensor x) {
    return x.transpose(1, 2).flatten(2, -1);
  }

  private static Tensor cat(long dimension, Tensor... parts) {
    return torch.cat(new TensorVector(parts), dimension);
  }

  private Tensor near(String name, Tensor grid) {
    long[] one = {1, 1};
    TensorOptional bias = new TensorOptional(weights.get(name + "near.bias"));
    return torch.conv2d(grid, weights.get(name + "near.weight"), bias, one, one, one, grid.size(1));
  }

  private Tensor linear(String name, Tensor x) {
    Tensor bias = weights.get(name + ".bias");
    return torch.linear(
        x, weights.get(name + ".weight"), bias == null ? NONE : new TensorOptional(bias));
  }
}
