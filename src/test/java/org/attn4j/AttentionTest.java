package org.attn4j;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertSame;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.util.List;
import java.util.Random;
import org.attn4j.BackendVerdict.Outcome;
import org.attn4j.testing.Gaussian;
import org.testng.annotations.Test;

/** The public entry, over host tensors. */
public class AttentionTest {
  private final HostTensor q = Gaussian.tensor(new Random(1), DType.FLOAT32, 1, 2, 5, 8);
  private final HostTensor k = Gaussian.tensor(new Random(2), DType.FLOAT32, 1, 1, 7, 8);
  private final HostTensor v = Gaussian.tensor(new Random(3), DType.FLOAT32, 1, 1, 7, 8);

  @Test
  public void freshOutputEqualsTheCallersOwn() {
    HostTensor o = HostTensor.allocate(DType.FLOAT32, 1, 2, 5, 8);
    AttentionRequest request = AttentionRequest.builder().q(q).k(k).v(v).o(o).build();
    assertEquals(Attention.workspaceSize(request), 0);
    Attention.sdpa(request);
    Attention.sdpa(request);
    try (AttentionTensor fresh = Attention.sdpa(q, k, v, AttentionOptions.DEFAULTS);
        AttentionResult both = Attention.sdpaWithLse(q, k, v, AttentionOptions.DEFAULTS)) {
      assertEquals(((HostTensor) fresh).toFloatArray(), o.toFloatArray());
      assertEquals(((HostTensor) both.o()).toFloatArray(), o.toFloatArray());
      assertEquals(both.lse().shape(), TensorShape.contiguous(1, 2, 5));
    }
  }

  @Test
  public void everyBackendOfThisVersionIsListed() {
    List<BackendInfo> backends = Attention.backends();
    assertEquals(
        backends.stream().map(BackendInfo::name).toList(),
        List.of("sparge", "sage", "exact", "cpu"));
    assertTrue(backends.get(3).ready());
    for (BackendInfo backend : backends) {
      assertTrue(backend.reason().length() > 10, backend.toString());
    }
  }

  @Test
  public void explainSaysWhyHostTensorsGoToTheCpu() {
    HostTensor o = HostTensor.allocate(DType.FLOAT32, 1, 2, 5, 8);
    AttentionRequest request = AttentionRequest.builder().q(q).k(k).v(v).o(o).build();
    List<BackendVerdict> verdicts = Attention.explain(request);
    assertEquals(
        verdicts.stream().map(BackendVerdict::backend).toList(),
        List.of(
            SdpaBackend.SPARGE,
            SdpaBackend.SAGE,
            SdpaBackend.EXACT,
            SdpaBackend.PYTORCH,
            SdpaBackend.CPU));
    assertEquals(
        verdicts.get(1).toString(), "sage REFUSES: q is host memory; device memory is accepted");
    assertSame(verdicts.get(4).outcome(), Outcome.SERVES);
  }

  @Test
  public void requiredGpuBackendRefusesHostTensors() {
    AttentionOptions required =
        AttentionOptions.builder().backend(SdpaBackend.EXACT).mode(BackendMode.REQUIRE).build();
    UnsupportedAttentionException refusal =
        expectThrows(UnsupportedAttentionException.class, () -> Attention.sdpa(q, k, v, required));
    assertEquals(
        refusal.getMessage(),
        "no backend serves the request: exact: q is host memory; device memory is accepted");
    assertEquals(refusal.verdicts().size(), 1);
  }

  @Test
  public void cpuRefusesDeviceTensors() {
    TensorShape shape = TensorShape.contiguous(1, 1, 4, 8);
    DeviceTensor tensor = DeviceTensor.wrap(0, 4096, DType.FLOAT16, shape);
    DeviceTensor o = DeviceTensor.wrap(0, 8192, DType.FLOAT16, shape);
    AttentionOptions cpu =
        AttentionOptions.builder().backend(SdpaBackend.CPU).mode(BackendMode.REQUIRE).build();
    AttentionRequest request =
        AttentionRequest.builder().q(tensor).k(tensor).v(tensor).o(o).options(cpu).build();
    assertEquals(
        expectThrows(UnsupportedAttentionException.class, () -> Attention.sdpa(request))
            .getMessage(),
        "no backend serves the request: cpu: q is device memory; host memory is accepted");
  }

  @Test
  public void nullsAreRefused() {
    assertEquals(
        expectThrows(InvalidAttentionArgumentException.class, () -> Attention.sdpa(null))
            .getMessage(),
        "request is null; AttentionRequest.builder() makes one");
    assertEquals(
        expectThrows(
                InvalidAttentionArgumentException.class,
                () -> Attention.sdpa(null, k, v, AttentionOptions.DEFAULTS))
            .getMessage(),
        "q is null; a tensor of rank 4 is needed");
    assertEquals(
        expectThrows(
                InvalidAttentionArgumentException.class, () -> Attention.sdpaWithLse(q, k, v, null))
            .getMessage(),
        "options is null; AttentionOptions.DEFAULTS or options of your own are needed");
  }
}
