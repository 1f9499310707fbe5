package org.attn4j;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;

import java.util.Arrays;
import java.util.function.Function;
import org.testng.annotations.Test;

/** The doctor's comparison, with the CPU in the GPU's place. */
public class KernelTrialTest {
  private final KernelTrial trial = new KernelTrial();

  private KernelTrial.Outcome judge(Function<AttentionOptions, float[]> server) {
    return trial.judge(
        "a kernel", 0.005, server, AttentionOptions.builder().backend(SdpaBackend.CPU));
  }

  @Test
  public void whatIsEqualPasses() {
    KernelTrial.Outcome outcome = judge(trial::onCpu);
    assertTrue(outcome.passed());
    assertEquals(outcome.toString(), "a kernel: right, L1 0.0000 against the CPU, 0.005 allowed");
  }

  @Test
  public void oneWrongHeadIsFound() {
    KernelTrial.Outcome outcome =
        judge(
            options -> {
              float[] output = trial.onCpu(options);
              Arrays.fill(output, 0, output.length / 4, 0f); // one head of four
              return output;
            });
    assertFalse(outcome.passed());
    assertTrue(outcome.toString().startsWith("a kernel: WRONG, L1 0.2"), outcome.toString());
  }

  @Test
  public void nanIsWrong() {
    assertFalse(
        judge(
                options -> {
                  float[] output = trial.onCpu(options);
                  output[7] = Float.NaN;
                  return output;
                })
            .passed());
  }

  @Test
  public void whatThrowsIsReported() {
    KernelTrial.Outcome outcome =
        judge(
            options -> {
              throw new IllegalStateException("it hurts");
            });
    assertFalse(outcome.passed());
    assertEquals(outcome.toString(), "a kernel: not run, it hurts");
  }
}
