package org.attn4j.pytorch;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.attn4j.AttentionOptions;
import org.attn4j.BackendMode;
import org.attn4j.SdpaBackend;
import org.attn4j.TensorLayout;
import org.attn4j.UnsupportedAttentionException;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.DoubleOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/**
 * What PyTorch answers, the drop-in answers, whatever backend is preferred; what PyTorch refuses,
 * it refuses in one sentence or in PyTorch's words.
 */
public class OddCallsTest {
  private static final int CASES = 300;

  /** What a call came to: a tensor, or an exception. */
  private record Outcome(Tensor tensor, RuntimeException exception) {
    interface Call {
      Tensor run();
    }

    static Outcome of(Call call) {
      try {
        return new Outcome(call.run(), null);
      } catch (RuntimeException e) {
        return new Outcome(null, e);
      }
    }

    String sentence() {
      return String.valueOf(exception.getMessage()).lines().findFirst().orElse("");
    }
  }

  @DataProvider
  public Object[][] preferences() {
    return new Object[][] {
      {null},
      {AttentionOptions.builder().backend(SdpaBackend.CPU).build()},
      {AttentionOptions.builder().backend(SdpaBackend.CPU).mode(BackendMode.OFF).build()},
      {AttentionOptions.builder().backend(SdpaBackend.EXACT).build()},
    };
  }

  @Test(dataProvider = "preferences")
  @SuppressWarnings("try")
  public void oddCallsAreAnsweredAsPyTorchAnswersThem(AttentionOptions preferred) {
    torch.manual_seed(3);
    int[] seen = new int[2];
    List<String> wrong = new ArrayList<>();
    for (int seed = 0; seed < CASES; seed++) {
      try (PointerScope scope = new PointerScope();
          AttentionScope options =
              Attn4j.use(preferred == null ? AttentionOptions.DEFAULTS : preferred)) {
        OddCall call = OddCall.random(new Random(seed));
        String fault = fault(call, preferred != null, seen);
        if (fault != null) {
          wrong.add("case " + seed + ": " + call + ": " + fault);
        }
      }
    }
    assertTrue(wrong.isEmpty(), wrong.size() + ": " + String.join("\n", wrong));
    assertTrue(seen[0] > CASES / 4 && seen[1] > CASES / 8, Arrays.toString(seen));
  }

  /** How the drop-in differs from PyTorch, or null. Counts PyTorch's answers and refusals. */
  private static String fault(OddCall call, boolean rounded, int[] seen) {
    Outcome actual = Outcome.of(call::actual);
    if (call.endsPyTorch()) {
      return actual.exception != null || actual.tensor.numel() == 0 ? null : "is not empty";
    }
    Outcome expected = Outcome.of(call::expected);
    if (expected.exception == null) {
      seen[0]++;
      return actual.exception != null
          ? "refused: " + actual.sentence()
          : difference(actual.tensor, expected.tensor, rounded);
    }
    if (call.isCausalWithMask()) {
      return null; // a contradiction for PyTorch, not for our kernels
    }
    seen[1]++;
    if (actual.exception == null) {
      return "answered; PyTorch: " + expected.sentence();
    }
    boolean ours = actual.exception instanceof IllegalArgumentException;
    return ours || actual.sentence().equals(expected.sentence())
        ? null
        : "refused otherwise: " + actual.sentence() + "; PyTorch: " + expected.sentence();
  }

  private static String difference(Tensor actual, Tensor expected, boolean rounded) {
    boolean alike =
        CallCheck.sizes(actual).equals(CallCheck.sizes(expected))
            && actual.scalar_type().value == expected.scalar_type().value;
    if (!alike) {
      return actual.scalar_type() + CallCheck.sizes(actual);
    }
    // Rounded: our fp32 reference against kernels that round to 16 bits between two products.
    boolean half = expected.element_size() == 2;
    double tolerance = !rounded ? 0 : half ? 6e-2 : 2e-5;
    return torch.allclose(actual, expected, tolerance, tolerance, true)
        ? null
        : Torch.Difference.of(actual, expected).toString();
  }

  /** PyTorch 2.10 divides by the number of heads: SIGFPE, which ends the process. */
  @Test
  @SuppressWarnings("try")
  public void noHeadsGiveAnEmptyResult() {
    AttentionOptions nhd = AttentionOptions.builder().layout(TensorLayout.NHD).build();
    for (ScalarType type : List.of(ScalarType.Float, ScalarType.Half, ScalarType.Double)) {
      try (PointerScope scope = new PointerScope()) {
        Tensor q = torch.randn(1, 0, 7, 32).to(type);
        Tensor k = torch.randn(1, 0, 9, 32).to(type);
        Tensor o = Attn4j.scaled_dot_product_attention(q, k, k);
        assertEquals(CallCheck.sizes(o), "[1, 0, 7, 32]");
        assertEquals(o.scalar_type().value, type.value);
        for (boolean grouped : new boolean[] {false, true}) {
          o =
              Attn4j.scaled_dot_product_attention(
                  q, k, k, new TensorOptional(), 0, true, new DoubleOptional(), grouped);
          assertEquals(CallCheck.sizes(o), "[1, 0, 7, 32]");
        }
        Tensor many = torch.randn(1, 3, 9, 32).to(type);
        o =
            Attn4j.scaled_dot_product_attention(
                q, many, many, new TensorOptional(), 0, false, new DoubleOptional(), true);
        assertEquals(CallCheck.sizes(o), "[1, 0, 7, 32]");
        o =
            Attn4j.scaled_dot_product_attention(
                q.transpose(1, 2), k.transpose(1, 2), k.transpose(1, 2), nhd);
        assertEquals(CallCheck.sizes(o), "[1, 7, 0, 32]");
        q.requires_grad_(true);
        o = Attn4j.scaled_dot_product_attention(q, k, k);
        o.sum().backward();
        assertEquals(CallCheck.sizes(q.grad()), "[1, 0, 7, 32]");
      }
    }
  }

  /** More than a ByteBuffer holds, of which hardly a page is touched. */
  @Test
  @SuppressWarnings("try")
  public void tensorsThatReachFarAreAnswered() {
    try (PointerScope scope = new PointerScope();
        AttentionScope cpu = Attn4j.use(SdpaBackend.CPU)) {
      Tensor far =
          torch
              .empty(2, 1L << 29)
              .as_strided(new long[] {2, 1, 4, 8}, new long[] {1L << 29, 32, 8, 1});
      far.fill_(new org.bytedeco.pytorch.Scalar(0.5));
      Tensor o = Attn4j.scaled_dot_product_attention(far, far, far);
      assertTrue(o.eq(new org.bytedeco.pytorch.Scalar(0.5)).all().item_bool());
      assertTrue(
          Attn4j.explain(far, far, far).toString().contains("more than 2147483647 bytes of host"));
    }
  }

  /** REQUIRE is an order: nobody stands in for the backend that it names. */
  @Test
  @SuppressWarnings("try")
  public void requireIsNotAnsweredByOthers() {
    try (PointerScope scope = new PointerScope()) {
      Tensor q = torch.randn(1, 1, 4, 8).to(ScalarType.Double);
      AttentionOptions cpuAlone =
          AttentionOptions.builder().backend(SdpaBackend.CPU).mode(BackendMode.REQUIRE).build();
      expectThrows(
          UnsupportedAttentionException.class,
          () -> Attn4j.scaled_dot_product_attention(q, q, q, cpuAlone));
    }
  }
}
