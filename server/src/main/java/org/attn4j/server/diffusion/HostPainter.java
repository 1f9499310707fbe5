package org.attn4j.server.diffusion;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.attn4j.SparsityOptions;
import org.attn4j.server.diffusion.Layers.Linear;

/**
 * The model of samples/model/model.py in Java, without PyTorch: attention by one of attn4j's
 * backends, the rest in plain loops. The weights are read once; {@link #with} shares them.
 */
final class HostPainter implements Painter {
  private static final int PATCH = 2;
  private static final int PIXELS = 3 * PATCH * PATCH; // numbers of a token
  private static final int OCTAVES = 4;
  private static final int TIME_FEATURES = 64;
  private static final int PLACE = 4 * OCTAVES + 1;
  private static final double GRID = 64;
  private static final int TURNS = 16; // RoPE's frequencies, for y and for x
  private static final double TURN_BASE = 100;

  /** The weights of a block. */
  private record Block(
      float[] table,
      Linear qkv,
      Linear out,
      Linear crossQ,
      Linear crossKv,
      Linear crossOut,
      Linear up,
      float[] near, // [3][3][hidden]
      float[] nearBias,
      Linear down) {}

  /** All weights. */
  private record Weights(
      float[] words,
      Linear patchIn,
      Linear timeIn,
      Linear timeOut,
      Linear mod,
      List<Block> blocks,
      Linear lastMod,
      Linear patchOut) {}

  private final ModelFacts facts;
  private final Weights weights;
  private final SelfAttention attention;
  private final int dim;
  private final int heads;

  private HostPainter(ModelFacts facts, Weights weights, SelfAttention attention) {
    this.facts = facts;
    this.weights = weights;
    this.attention = attention;
    dim = facts.dim();
    heads = dim / Layers.HEAD_DIM;
  }

  /**
   * Takes the weights out of {@code tensors}, or throws IllegalArgumentException with what is
   * wrong.
   */
  static HostPainter of(ModelFacts facts, Safetensors tensors) {
    int dim = facts.dim();
    List<Block> blocks = new ArrayList<>();
    for (int i = 0; i < facts.depth(); i++) {
      blocks.add(block(tensors, "blocks." + i + ".", dim, facts.hidden()));
    }
    Weights weights =
        new Weights(
            tensors.get("words.weight", facts.words().size(), dim),
            linear(tensors, "patch_in", PIXELS + PLACE, dim, true),
            linear(tensors, "time_in", 2 * TIME_FEATURES, dim, true),
            linear(tensors, "time_out", dim, dim, true),
            linear(tensors, "mod", dim, 6 * dim, true),
            blocks,
            linear(tensors, "last_mod", dim, 2 * dim, true),
            linear(tensors, "patch_out", dim, PIXELS, true));
    return new HostPainter(facts, weights, new SelfAttention(null));
  }

  private static Block block(Safetensors tensors, String name, int dim, int hidden) {
    float[] near = tensors.get(name + "near.weight", hidden, 1, 3, 3);
    float[] turned = new float[near.length];
    for (int i = 0; i < near.length; i++) {
      turned[i % 9 * hidden + i / 9] = near[i];
    }
    return new Block(
        tensors.get(name + "table", 6, dim),
        linear(tensors, name + "qkv", dim, 3 * dim, false),
        linear(tensors, name + "out", dim, dim, false),
        linear(tensors, name + "cross_q", dim, dim, false),
        linear(tensors, name + "cross_kv", dim, 2 * dim, false),
        linear(tensors, name + "cross_out", dim, dim, false),
        linear(tensors, name + "up", dim, hidden, true),
        turned,
        tensors.get(name + "near.bias", hidden),
        linear(tensors, name + "down", hidden, dim, true));
  }

  private static Linear linear(Safetensors tensors, String name, int in, int out, boolean bias) {
    return Linear.of(
        in,
        out,
        tensors.get(name + ".weight", out, in),
        bias ? tensors.get(name + ".bias", out) : null);
  }

  /** The same model with other sparsity; null is dense. */
  HostPainter with(SparsityOptions sparsity) {
    return with(new SelfAttention(sparsity));
  }

  /** The same model with another attention. */
  HostPainter with(SelfAttention other) {
    return new HostPainter(facts, weights, other);
  }

  @Override
  public String backend() {
    return attention.backend();
  }

  @Override
  public String kernel() {
    return attention.kernel();
  }

  @Override
  public double leftOut() {
    return attention.leftOut();
  }

  @Override
  public float[] velocity(float[] x, int height, int width, double phi, int[] words) {
    int rows = height / PATCH;
    int columns = width / PATCH;
    float[] text = text(words);
    float[] condition = Layers.silu(condition(phi, text));
    float[] mod = weights.mod().apply(condition);
    float[] tokens = weights.patchIn().apply(inputs(x, rows, columns));
    float[][] turns = turns(rows, columns);
    for (Block block : weights.blocks()) {
      apply(block, tokens, mod, text, turns, rows, columns);
    }
    float[] last = weights.lastMod().apply(condition);
    float[] normed = Layers.norm(tokens, dim, part(last, 0, dim), part(last, 1, dim));
    return pixels(weights.patchOut().apply(normed), rows, columns);
  }

  private float[] text(int[] words) {
    float[] text = new float[words.length * dim];
    for (int i = 0; i < words.length; i++) {
      System.arraycopy(weights.words(), words[i] * dim, text, i * dim, dim);
    }
    return text;
  }

  private float[] condition(double phi, float[] text) {
    float[] features = new float[2 * TIME_FEATURES];
    for (int i = 0; i < TIME_FEATURES; i++) {
      double angle = phi * 0.5 * Math.pow(1.1, i);
      features[i] = (float) Math.sin(angle);
      features[TIME_FEATURES + i] = (float) Math.cos(angle);
    }
    float[] c = weights.timeOut().apply(Layers.silu(weights.timeIn().apply(features)));
    int count = text.length / dim;
    for (int i = 0; i < text.length; i++) {
      c[i % dim] += text[i] / count;
    }
    return c;
  }

  /** Pixels of each token and where it is, {@code [token][PIXELS + PLACE]}. */
  private static float[] inputs(float[] x, int rows, int columns) {
    int width = columns * PATCH;
    float[] inputs = new float[rows * columns * (PIXELS + PLACE)];
    float scale = (float) Math.log(rows / 32.0);
    for (int token = 0; token < rows * columns; token++) {
      int at = token * (PIXELS + PLACE);
      int row = token / columns;
      int column = token % columns;
      for (int i = 0; i < PIXELS; i++) {
        int pixelRow = row * PATCH + i / PATCH % PATCH;
        int pixelColumn = column * PATCH + i % PATCH;
        int channel = i / (PATCH * PATCH);
        inputs[at + i] = x[(channel * rows * PATCH + pixelRow) * width + pixelColumn];
      }
      for (int octave = 0; octave < OCTAVES; octave++) {
        double wave = 2 * Math.PI * (1 << octave);
        double y = (row + 0.5) / rows * wave;
        double z = (column + 0.5) / columns * wave;
        inputs[at + PIXELS + octave] = (float) Math.sin(y);
        inputs[at + PIXELS + OCTAVES + octave] = (float) Math.cos(y);
        inputs[at + PIXELS + 2 * OCTAVES + octave] = (float) Math.sin(z);
        inputs[at + PIXELS + 3 * OCTAVES + octave] = (float) Math.cos(z);
      }
      inputs[at + PIXELS + PLACE - 1] = scale;
    }
    return inputs;
  }

  private static float[] pixels(float[] tokens, int rows, int columns) {
    float[] x = new float[tokens.length];
    int width = columns * PATCH;
    for (int token = 0; token < rows * columns; token++) {
      for (int i = 0; i < PIXELS; i++) {
        int row = token / columns * PATCH + i / PATCH % PATCH;
        int column = token % columns * PATCH + i % PATCH;
        int channel = i / (PATCH * PATCH);
        x[(channel * rows * PATCH + row) * width + column] = tokens[token * PIXELS + i];
      }
    }
    return x;
  }

  private void apply(
      Block block, float[] x, float[] mod, float[] text, float[][] turns, int rows, int columns) {
    float[] shift = mod.clone();
    Layers.addGated(shift, block.table(), null);
    float[] y = Layers.norm(x, dim, part(shift, 0, dim), part(shift, 1, dim));
    float[] qkv = block.qkv().apply(y);
    float[] q = channels(qkv, 3, 0);
    float[] k = channels(qkv, 3, 1);
    turn(q, turns);
    turn(k, turns);
    float[] self = attention.onGrid(q, k, channels(qkv, 3, 2), heads, rows, columns);
    Layers.addGated(x, block.out().apply(self), part(shift, 2, dim));

    float[] kv = block.crossKv().apply(text);
    float[] queries = block.crossQ().apply(Layers.norm(x, dim, null, null));
    float[] cross = attention.dense(queries, channels(kv, 2, 0), channels(kv, 2, 1), heads);
    Layers.addGated(x, block.crossOut().apply(cross), null);

    y = block.up().apply(Layers.norm(x, dim, part(shift, 3, dim), part(shift, 4, dim)));
    y = Layers.addNeighbours(y, rows, columns, block.near(), block.nearBias());
    Layers.gelu(y);
    Layers.addGated(x, block.down().apply(y), part(shift, 5, dim));
  }

  /** One of {@code parts} equal runs of channels, of every row. */
  private float[] channels(float[] x, int parts, int part) {
    float[] one = new float[x.length / parts];
    for (int row = 0; row < one.length / dim; row++) {
      System.arraycopy(x, (row * parts + part) * dim, one, row * dim, dim);
    }
    return one;
  }

  private static float[] part(float[] x, int index, int size) {
    return Arrays.copyOfRange(x, index * size, (index + 1) * size);
  }

  /** Cosines and sines, each {@code [token][y's frequencies, x's frequencies]}. */
  private static float[][] turns(int rows, int columns) {
    float[] cos = new float[rows * columns * 2 * TURNS];
    float[] sin = new float[cos.length];
    for (int i = 0; i < cos.length; i++) {
      int token = i / (2 * TURNS);
      boolean vertical = i % (2 * TURNS) < TURNS;
      double place = vertical ? (token / columns + 0.5) / rows : (token % columns + 0.5) / columns;
      double angle = place * GRID * Math.pow(TURN_BASE, -(double) (i % TURNS) / TURNS);
      cos[i] = (float) Math.cos(angle);
      sin[i] = (float) Math.sin(angle);
    }
    return new float[][] {cos, sin};
  }

  /** RoPE: the first half of a head turns with y, the second with x. */
  private void turn(float[] x, float[][] turns) {
    for (int token = 0; token < x.length / dim; token++) {
      for (int head = 0; head < heads; head++) {
        for (int i = 0; i < 2 * TURNS; i++) {
          int a = (token * heads + head) * Layers.HEAD_DIM + i / TURNS * 2 * TURNS + i % TURNS;
          int b = a + TURNS;
          float cos = turns[0][token * 2 * TURNS + i];
          float sin = turns[1][token * 2 * TURNS + i];
          float first = x[a] * cos - x[b] * sin;
          x[b] = x[b] * cos + x[a] * sin;
          x[a] = first;
        }
      }
    }
  }

  @Override
  public void close() {}
}
