package org.attn4j.backend;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertNull;
import static org.testng.Assert.assertTrue;

import java.util.Optional;
import org.attn4j.AttentionMask;
import org.attn4j.AttentionOptions;
import org.attn4j.AttentionRequest;
import org.attn4j.DType;
import org.attn4j.DeviceMemory;
import org.attn4j.DeviceTensor;
import org.attn4j.PackedSequences;
import org.attn4j.PvAccumulator;
import org.attn4j.TensorLayout;
import org.attn4j.TensorShape;
import org.attn4j.runtime.NativeLibrary;
import org.bytedeco.javacpp.PointerScope;
import org.testng.SkipException;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.Test;

/** What the native library answers about requests: it needs the library, and no GPU. */
public class NativeAttentionTest {
  private static final long STEP = 1L << 32;
  private static final String SAGE_SERVES =
      "sageattn serves masks of keys alone, which are the same for all heads and queries, "
          + "and beside a causal mask on 9.0 alone, in FP8, from 1024 keys on";

  @BeforeClass
  public void requireLibrary() {
    Optional<String> failure = NativeLibrary.loadFailure();
    if (failure.isPresent()) {
      throw new SkipException("no native library: " + failure.get());
    }
  }

  /** Sizes of a request over addresses that nothing reads. */
  private static final class Sizes {
    DType dtype = DType.FLOAT16;
    long lq = 1000;
    long lk = 2000;
    int headDim = 128;
    int shift; // bytes by which q, k and v are off alignment
    boolean lse;
    AttentionMask mask;
    PackedSequences packed;
    long batch = 2;
    AttentionOptions options = AttentionOptions.DEFAULTS;

    private DeviceTensor tensor(int index, long heads, long rows, int bytesOff) {
      boolean hnd = options.layout() == TensorLayout.HND;
      TensorShape shape =
          TensorShape.contiguous(batch, hnd ? heads : rows, hnd ? rows : heads, headDim);
      DeviceMemory memory = DeviceMemory.wrap(0, STEP * (index + 1), STEP);
      return DeviceTensor.view(memory, bytesOff, dtype, shape);
    }

    AttentionRequest request() {
      DeviceMemory lseMemory = DeviceMemory.wrap(0, STEP * 9, STEP);
      TensorShape lseShape = TensorShape.contiguous(batch, 8, lq);
      return AttentionRequest.builder()
          .q(tensor(0, 8, lq, shift))
          .k(tensor(1, 2, lk, shift))
          .v(tensor(2, 2, lk, shift))
          .o(tensor(3, 8, lq, 0))
          .lse(lse ? DeviceTensor.view(lseMemory, 0, DType.FLOAT32, lseShape) : null)
          .mask(mask)
          .packed(packed)
          .options(options)
          .build();
    }
  }

  private static Support supports(NativeKernel kernel, PvAccumulator accumulator) {
    Sizes sizes = new Sizes();
    sizes.options = AttentionOptions.builder().pvAccumulator(accumulator).build();
    return NativeAttention.supports(kernel, sizes.request());
  }

  /** Whatever the library was built for: a named accumulator is what runs, or it is refused. */
  private static void served(Support support, String kernel, String refusal) {
    if (support.supported()) {
      assertTrue(support.plan().kernel().startsWith(kernel + "/"), support.plan().kernel());
    } else {
      assertTrue(support.reason().contains(refusal), support.reason());
    }
  }

  @Test
  public void accumulatorsOnMmaSync() {
    NativeKernel f16 = NativeKernel.SAGE_QK_INT8_PV_FP16;
    NativeKernel fp8 = NativeKernel.SAGE_QK_INT8_PV_FP8;
    assertFalse(supports(f16, PvAccumulator.DEFAULT).plan().kernel().contains("acc16"));
    served(
        supports(f16, PvAccumulator.FP16_FP32),
        "mma_int8_acc16",
        "pv_accum_dtype: found fp16+fp32; sageattn_qk_int8_pv_fp16_cuda accumulates in fp32");
    served(
        supports(fp8, PvAccumulator.DEFAULT),
        "mma_int8_fp8",
        "sageattn_qk_int8_pv_fp8_cuda is not built for this architecture");
    served(
        supports(fp8, PvAccumulator.FP32_FP16),
        "mma_int8_fp8_acc16",
        "sageattn_qk_int8_pv_fp8_cuda is not built for this architecture");
    Support wrong = supports(fp8, PvAccumulator.FP16_FP32);
    assertFalse(wrong.supported());
    assertTrue(wrong.reason().contains("sageattn_qk_int8_pv_fp8_cuda"), wrong.reason());
  }

  @Test
  public void kernelFollowsHeadDimAndType() {
    Sizes sizes = new Sizes();
    sizes.dtype = DType.BFLOAT16;
    sizes.headDim = 72;
    Support support = NativeAttention.supports(NativeKernel.SAGE, sizes.request());
    assertTrue(support.supported(), support.reason());
    assertTrue(support.reason().matches("kernel \\S+/d96/bf16 \\(.*\\)"), support.reason());
    sizes.dtype = DType.FLOAT16;
    sizes.headDim = 64;
    support = NativeAttention.supports(NativeKernel.SAGE, sizes.request());
    assertTrue(support.reason().matches("kernel \\S+/d64/f16 \\(.*\\)"), support.reason());
  }

  @Test
  public void layoutDecidesWhatIsASequence() {
    Sizes sizes = new Sizes();
    long hnd = bytes(NativeKernel.SAGE_QK_INT8_PV_FP16, sizes);
    sizes.options = AttentionOptions.builder().layout(TensorLayout.NHD).build();
    assertEquals(bytes(NativeKernel.SAGE_QK_INT8_PV_FP16, sizes), hnd);
  }

  @Test
  public void workspaceGrowsWithKeysAndMisalignment() {
    Sizes sizes = new Sizes();
    long exactAligned = bytes(NativeKernel.EXACT, sizes);
    long sageAligned = bytes(NativeKernel.SAGE_QK_INT8_PV_FP16, sizes);
    assertTrue(sageAligned >= 2 * 2 * 2000 * 128, "one byte per element of k: " + sageAligned);
    sizes.shift = 2;
    assertTrue(bytes(NativeKernel.EXACT, sizes) > exactAligned, "q, k and v are repacked");
    sizes.shift = 0;
    sizes.lk = 4000;
    assertTrue(bytes(NativeKernel.SAGE_QK_INT8_PV_FP16, sizes) > sageAligned);
  }

  @Test
  public void optionsReachTheLibrary() {
    Sizes sizes = new Sizes();
    long smooth = bytes(NativeKernel.SAGE_QK_INT8_PV_FP16, sizes);
    sizes.options = AttentionOptions.builder().smoothK(false).build();
    long rough = bytes(NativeKernel.SAGE_QK_INT8_PV_FP16, sizes);
    assertTrue(rough < smooth, rough + " " + smooth);
    sizes.options = AttentionOptions.DEFAULTS;
    sizes.lse = true;
    // For the LSE the mean is kept; Hopper's kernel has room for it in any case.
    assertTrue(bytes(NativeKernel.SAGE_QK_INT8_PV_FP16, sizes) >= smooth);
    sizes.options = AttentionOptions.builder().pvAccumulator(PvAccumulator.FP32_FP16).build();
    Support support = NativeAttention.supports(NativeKernel.SAGE_QK_INT8_PV_FP16, sizes.request());
    assertFalse(support.supported());
    assertTrue(support.reason().contains("found fp32+fp16"), support.reason());
  }

  @Test
  public void masksReachTheLibrary() {
    Sizes sizes = new Sizes();
    DeviceMemory memory = DeviceMemory.wrap(0, STEP * 8, STEP);
    DeviceTensor keys =
        DeviceTensor.view(memory, 1, DType.INT8, TensorShape.contiguous(2, sizes.lk));
    DeviceTensor bias =
        DeviceTensor.view(memory, 64, DType.FLOAT32, TensorShape.contiguous(1, 8, 1, sizes.lk));
    DeviceTensor pairs =
        DeviceTensor.view(memory, 1, DType.INT8, TensorShape.contiguous(1, 1, sizes.lq, sizes.lk));
    AttentionMask mask = AttentionMask.keys(keys);
    for (NativeKernel kernel : new NativeKernel[] {NativeKernel.SAGE, NativeKernel.EXACT}) {
      sizes.mask = mask;
      Support keysAlone = NativeAttention.supports(kernel, sizes.request());
      assertTrue(keysAlone.supported(), keysAlone.reason());
      assertFalse(keysAlone.reason().contains("masked"), keysAlone.reason());
    }
    sizes.mask = AttentionMask.pairs(pairs);
    Support exact = NativeAttention.supports(NativeKernel.EXACT, sizes.request());
    assertTrue(exact.reason().startsWith("kernel masked_exact_mma/d128/f16"), exact.reason());
    Support sage = NativeAttention.supports(NativeKernel.SAGE, sizes.request());
    assertEquals(sage.reason(), "seen: a mask is given; " + SAGE_SERVES);
    sizes.mask = AttentionMask.bias(bias);
    sage = NativeAttention.supports(NativeKernel.SAGE, sizes.request());
    assertEquals(sage.reason(), "bias: a mask is given; " + SAGE_SERVES);
    sizes.mask = mask.and(sizes.mask);
    Support sparge = NativeAttention.supports(NativeKernel.SPAS_MEANSIM, sizes.request());
    assertEquals(
        sparge.reason(), "seen+bias: a mask is given; SpargeAttn has no kernel that reads one");
    assertTrue(NativeAttention.supports(NativeKernel.EXACT, sizes.request()).supported());
    sizes.mask = AttentionMask.slidingWindow(100, 0);
    assertTrue(NativeAttention.supports(NativeKernel.EXACT, sizes.request()).supported());
    sage = NativeAttention.supports(NativeKernel.SAGE, sizes.request());
    assertEquals(sage.reason(), "window: a mask is given; " + SAGE_SERVES);
    sizes.mask = null;
    exact = NativeAttention.supports(NativeKernel.EXACT, sizes.request());
    assertFalse(exact.reason().contains("masked"), exact.reason());
  }

  @Test
  public void packedSequencesReachTheLibrary() {
    Sizes sizes = new Sizes();
    sizes.batch = 1;
    DeviceMemory memory = DeviceMemory.wrap(0, STEP * 8, STEP);
    DeviceTensor offsets = DeviceTensor.view(memory, 0, DType.INT32, TensorShape.contiguous(6));
    sizes.packed = new PackedSequences(offsets, offsets, 300, 700);
    Support exact = NativeAttention.supports(NativeKernel.EXACT, sizes.request());
    assertTrue(exact.reason().startsWith("kernel exact_mma/d128/f16"), exact.reason());
    Support sage = NativeAttention.supports(NativeKernel.SAGE, sizes.request());
    assertEquals(
        sage.reason(), "packed: 5 sequences are given; sageattn has no kernel that takes them");
    sizes.packed = null;
    assertTrue(NativeAttention.supports(NativeKernel.SAGE, sizes.request()).supported());
  }

  private static long bytes(NativeKernel kernel, Sizes sizes) {
    Support support = NativeAttention.supports(kernel, sizes.request());
    assertTrue(support.supported(), support.reason());
    return support.workspaceBytes();
  }

  @Test
  public void largeHeadDimsAreRefusedWithTheReason() {
    Sizes sizes = new Sizes();
    sizes.headDim = 160;
    Support sage = NativeAttention.supports(NativeKernel.SAGE, sizes.request());
    assertFalse(sage.supported());
    assertTrue(sage.reason().contains("head_dim is 160"), sage.reason());
    assertTrue(NativeAttention.supports(NativeKernel.EXACT, sizes.request()).supported());
    sizes.headDim = 264;
    Support exact = NativeAttention.supports(NativeKernel.EXACT, sizes.request());
    assertFalse(exact.supported());
    assertTrue(exact.reason().contains("head_dim is 264"), exact.reason());
  }

  @Test
  @SuppressWarnings("try") // the scope is there to be closed
  public void callersPointerScopeFreesNothingOfOurs() throws InterruptedException {
    Throwable[] failure = new Throwable[1];
    Thread fresh = // whose first call lies in a scope
        new Thread(
            () -> {
              try (PointerScope scope = new PointerScope()) {
                assertTrue(
                    NativeAttention.supports(NativeKernel.EXACT, new Sizes().request())
                        .supported());
              }
              assertTrue(
                  NativeAttention.supports(NativeKernel.EXACT, new Sizes().request()).supported());
            });
    fresh.setUncaughtExceptionHandler((thread, thrown) -> failure[0] = thrown);
    fresh.start();
    fresh.join();
    assertNull(failure[0]);
  }
}
