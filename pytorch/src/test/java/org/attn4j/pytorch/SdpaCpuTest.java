package org.attn4j.pytorch;

import static org.testng.Assert.assertTrue;

import java.util.EnumMap;
import java.util.Map;
import java.util.Random;
import org.attn4j.BackendVerdict;
import org.attn4j.BackendVerdict.Outcome;
import org.attn4j.SdpaBackend;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.Test;

/** 500 random calls on CPU tensors against PyTorch's own function. */
public class SdpaCpuTest {
  private static final int CASES = 500;
  private static final ScalarType[] TYPES = {
    ScalarType.Float, ScalarType.Float, ScalarType.Half, ScalarType.BFloat16, ScalarType.Double
  };
  private static final TorchCase.Limits LIMITS =
      new TorchCase.Limits(TYPES, 70, new long[] {8, 16, 40, 64, 80, 72, 5}, false);

  @Test
  @SuppressWarnings("try")
  public void autoIsPyTorchBitForBit() {
    torch.manual_seed(1);
    for (int seed = 0; seed < CASES; seed++) {
      try (PointerScope scope = new PointerScope()) {
        TorchCase c = TorchCase.random(new Random(seed), LIMITS);
        Tensor expected = c.expected();
        Tensor actual = c.actual();
        assertTrue(actual.equal(expected), "case " + seed + ": " + c);
      }
    }
  }

  @Test
  @SuppressWarnings("try")
  public void cpuBackendAgreesWithPyTorchOnWhatItServes() {
    torch.manual_seed(2);
    Map<SdpaBackend, Integer> served = new EnumMap<>(SdpaBackend.class);
    for (int seed = 0; seed < CASES; seed++) {
      try (PointerScope scope = new PointerScope();
          AttentionScope cpu = Attn4j.use(SdpaBackend.CPU)) {
        TorchCase c = TorchCase.random(new Random(1000 + seed), LIMITS);
        SdpaBackend by = whoServes(c);
        served.merge(by, 1, Integer::sum);
        if (by != SdpaBackend.CPU) {
          continue;
        }
        Torch.Difference difference = Torch.Difference.of(c.actual(), c.expected());
        // Float: scores reach 30 here, so that a rounding error of 2^-24 in each of the two orders
        // of
        // summation, a few times, is 5e-6 in a weight's exponent; times values up to 4. Half and
        // BFloat16: half an ulp of such values in either result, and PyTorch rounds P to the type.
        double tolerance =
            switch (c.query.scalar_type().intern()) {
              case Float -> 2e-5;
              case Half -> 8e-3;
              default -> 6e-2;
            };
        assertTrue(
            difference.sameSizes() && difference.largest() <= tolerance,
            "case " + seed + ": " + c + ": " + difference);
      }
    }
    assertTrue(served.getOrDefault(SdpaBackend.CPU, 0) > CASES / 3, "served: " + served);
  }

  /** The first backend that says it serves, or PYTORCH if REFUSES all along. */
  private static SdpaBackend whoServes(TorchCase c) {
    for (BackendVerdict verdict :
        Attn4j.explain(
            c.query, c.key, c.value, c.maskOptional(), 0, c.causal, c.scaleOptional(), c.grouped)) {
      if (verdict.outcome() == Outcome.SERVES) {
        return verdict.backend();
      }
    }
    return SdpaBackend.PYTORCH;
  }

  @Test
  @SuppressWarnings("try")
  public void masksOfEveryKindAreServed() {
    int[] seen = new int[TorchCase.MaskKind.values().length];
    for (int seed = 0; seed < CASES; seed++) {
      try (PointerScope scope = new PointerScope();
          AttentionScope cpu = Attn4j.use(SdpaBackend.CPU)) {
        TorchCase c = TorchCase.random(new Random(2000 + seed), LIMITS);
        if (whoServes(c) == SdpaBackend.CPU) {
          seen[c.maskKind.ordinal()]++;
        }
      }
    }
    for (TorchCase.MaskKind kind : TorchCase.MaskKind.values()) {
      assertTrue(seen[kind.ordinal()] >= 3, kind + " " + seen[kind.ordinal()]);
    }
  }
}
