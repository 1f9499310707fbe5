package org.attn4j.pytorch;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import org.attn4j.AttentionOptions;
import org.attn4j.CausalMask;
import org.attn4j.TensorLayout;
import org.bytedeco.pytorch.DoubleOptional;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** A line of hook_cases.tsv, which says what the columns are. */
record HookCase(
    String name,
    String query,
    String key,
    String value,
    ScalarType type,
    List<String> arguments,
    String hook,
    String dropIn) {

  static List<HookCase> all() throws IOException {
    try (InputStream stream = HookCase.class.getResourceAsStream("hook_cases.tsv")) {
      return new String(stream.readAllBytes(), StandardCharsets.UTF_8)
          .lines()
          .filter(line -> !line.startsWith("#"))
          .map(line -> line.split("\t"))
          .map(
              c ->
                  new HookCase(
                      c[0],
                      c[1],
                      c[2],
                      c[3],
                      ScalarType.valueOf(c[4]),
                      Arrays.asList(c[5].split(" ")),
                      c[6],
                      c[7]))
          .toList();
    }
  }

  boolean has(String argument) {
    return arguments.contains(argument);
  }

  /** The call over fresh tensors on the CPU. */
  SdpaCall call() {
    Tensor q = tensor(query, type);
    Tensor k = tensor(key, has("f32k") ? ScalarType.Float : type);
    Tensor v = tensor(value, type);
    CausalMask causal = has("causal") ? CausalMask.TOP_LEFT : CausalMask.NONE;
    Packing packing = Packing.of(TensorLayout.HND);
    return new SdpaCall(
        q,
        k,
        v,
        mask(),
        has("dropout") ? 0.5 : 0,
        scale(),
        has("gqa"),
        AttentionOptions.builder().causalMask(causal).build(),
        q.dim() == 3 ? Packing.SINGLE_HEAD : packing,
        0);
  }

  /** A mask that hides a third of the keys, or adds numbers. */
  private TensorOptional mask() {
    for (String argument : arguments) {
      if (argument.startsWith("mask")) {
        String[] parts = argument.substring(argument.indexOf('=') + 1).split(":");
        Tensor values = torch.randn(sizes(parts[0]));
        Tensor mask = argument.startsWith("maskf") ? values.to(type) : values.gt(new Scalar(-0.4));
        return new TensorOptional(parts.length > 1 ? mask.expand(sizes(parts[1])) : mask);
      }
    }
    return new TensorOptional();
  }

  private static long[] sizes(String text) {
    return Arrays.stream(text.split(",")).mapToLong(Long::parseLong).toArray();
  }

  private DoubleOptional scale() {
    for (String argument : arguments) {
      if (argument.startsWith("scale=")) {
        return new DoubleOptional(Double.parseDouble(argument.substring(6)));
      }
    }
    return new DoubleOptional();
  }

  static Tensor run(SdpaCall call) {
    return torch.scaled_dot_product_attention(
        call.query(),
        call.key(),
        call.value(),
        call.mask(),
        call.dropout(),
        call.isCausal(),
        call.scale(),
        call.groupedHeads());
  }

  private static Tensor tensor(String text, ScalarType type) {
    String[] parts = text.split(" ");
    long[] sizes = sizes(parts[0]);
    String how = parts.length > 1 ? parts[1] : "";
    return switch (how.isEmpty() ? ' ' : how.charAt(0)) {
      case 't' -> random(type, sizes).transpose(digit(how, 1), digit(how, 2));
      case 'x' -> expanded(sizes, digit(how, 1), type);
      case 's' -> everySecond(sizes, type);
      case 'n' -> random(type, sizes)._neg_view();
      case 'g' -> random(type, sizes).requires_grad_(true);
      default -> random(type, sizes);
    };
  }

  private static Tensor random(ScalarType type, long... sizes) {
    return torch.randn(sizes).to(type);
  }

  private static int digit(String text, int at) {
    return text.charAt(at) - '0';
  }

  private static Tensor expanded(long[] sizes, int dimension, ScalarType type) {
    long[] one = sizes.clone();
    one[dimension] = 1;
    return random(type, one).expand(sizes);
  }

  private static Tensor everySecond(long[] sizes, ScalarType type) {
    long[] wide = sizes.clone();
    int last = sizes.length - 1;
    wide[last] *= 2;
    long[] pairs = Arrays.copyOf(sizes, sizes.length + 1);
    pairs[last + 1] = 2;
    return random(type, wide).view(pairs).select(last + 1, 0);
  }

  @Override
  public String toString() {
    return name;
  }
}
