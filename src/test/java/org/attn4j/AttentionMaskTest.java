package org.attn4j;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertNull;
import static org.testng.Assert.assertSame;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** What masks say, what they refuse, and who serves them. No GPU needed. */
public class AttentionMaskTest {
  private static final DType BYTE = DType.INT8;

  /** A request of 2 entries, 4 heads, and queries and keys as given; its sizes are what counts. */
  private static AttentionRequest.Builder request(int queries, int keys) {
    return AttentionRequest.builder()
        .q(HostTensor.allocate(DType.FLOAT32, 2, 4, queries, 8))
        .k(HostTensor.allocate(DType.FLOAT32, 2, 2, keys, 8))
        .v(HostTensor.allocate(DType.FLOAT32, 2, 2, keys, 8))
        .o(HostTensor.allocate(DType.FLOAT32, 2, 4, queries, 8));
  }

  /** A line per query: # seen, . hidden. */
  private static String picture(AttentionMask mask, int queries, int keys) {
    AttentionDims dims = request(queries, keys).mask(mask).build().dims();
    StringBuilder text = new StringBuilder();
    double[] addends = new double[keys];
    for (int i = 0; i < queries; i++) {
      mask.read(dims, 0, 0, i, 0, keys, addends);
      for (double addend : addends) {
        text.append(addend == 0 ? '#' : '.');
      }
      text.append(i + 1 < queries ? "/" : "");
    }
    return text.toString();
  }

  @Test
  public void rulesAsPictures() {
    assertEquals(picture(AttentionMask.slidingWindow(1, 0), 4, 4), "#.../##../.##./..##");
    assertEquals(picture(AttentionMask.slidingWindow(1, 0), 2, 4), ".##./..##"); // with a cache
    assertEquals(picture(AttentionMask.slidingWindow(0, 1), 4, 2), "../#./##/.#");
    assertEquals(picture(AttentionMask.prefixLm(2), 4, 4), "##../##../###./####");
    assertEquals(picture(AttentionMask.blockDiagonal(1, 0, 2), 3, 3), "#../.##/.##");
    assertEquals(
        picture(AttentionMask.blockDiagonal(new long[] {2, 1}, new long[] {1, 3}), 3, 4),
        "#.../#.../.###");
    assertEquals(picture(AttentionMask.dilated(1, 1, 2), 4, 4), "#.#./.#.#/#.#./.#.#");
    assertEquals(
        picture(AttentionMask.neighbourhood(new int[] {5}, new int[] {3}), 5, 5),
        "###../###../.###./..###/..###");
    assertEquals(
        picture(AttentionMask.neighbourhood(new int[] {2, 2}, new int[] {2, 1}), 4, 4),
        "#.#./.#.#/#.#./.#.#");
    assertEquals(
        picture(AttentionMask.slidingWindow(2, 0).and(AttentionMask.blockDiagonal(2, 2)), 4, 4),
        "#.../##../..#./..##");
  }

  @Test
  public void rulesBoundTheKeysToLookAt() {
    AttentionDims dims = request(100, 100).build().dims();
    AttentionMask mask =
        AttentionMask.slidingWindow(10, 5).and(AttentionMask.blockDiagonal(45, 55));
    assertEquals(mask.firstKey(dims, 50), 45);
    assertEquals(mask.endKey(dims, 50), 56);
    assertEquals(mask.endKey(dims, 44), 45);
    assertEquals(AttentionMask.alibi(1, 2, 3, 4).endKey(dims, 0), 100);
  }

  @Test
  public void alibiIsOneSlopePerHead() {
    AttentionDims dims = request(2, 3).build().dims();
    double[] addends = new double[3];
    AttentionMask.alibi(1, 2, 3, 0.5f).read(dims, 1, 3, 0, 0, 3, addends);
    assertEquals(addends, new double[] {-0.5, 0, -0.5});
  }

  @Test
  public void whatIsHiddenStaysHiddenWhateverIsAdded() {
    float infinity = Float.POSITIVE_INFINITY;
    HostTensor bias =
        HostTensor.of(DType.FLOAT32, new float[] {infinity, Float.NaN, 1, -infinity}, 1, 1, 1, 4);
    HostTensor none = HostTensor.allocate(BYTE, 1, 4);
    AttentionDims dims = request(1, 4).build().dims();
    double[] addends = new double[4];
    double[] hidden = {-infinity, -infinity, -infinity, -infinity};
    AttentionMask.bias(bias).and(AttentionMask.keys(none)).read(dims, 0, 0, 0, 0, 4, addends);
    assertEquals(addends, hidden);
    AttentionMask.keys(none).and(AttentionMask.bias(bias)).read(dims, 0, 0, 0, 0, 4, addends);
    assertEquals(addends, hidden);
  }

  private interface Make {
    AttentionMask mask();
  }

  private static Object[] bad(Make make, String message) {
    return new Object[] {make, message};
  }

  private static HostTensor of(DType dtype, long... sizes) {
    return HostTensor.allocate(dtype, sizes);
  }

  @DataProvider
  public Object[][] badMasks() {
    return new Object[][] {
      bad(() -> AttentionMask.keys(null), "mask.keys is null; a tensor of rank 2 is needed"),
      bad(() -> AttentionMask.keys(of(BYTE, 2, 1, 9)), "mask.keys has rank 3; rank 2 is accepted"),
      bad(() -> AttentionMask.keys(of(DType.INT32, 2, 9)), "mask.keys is INT32; INT8 is accepted"),
      bad(
          () -> AttentionMask.keys(of(BYTE, 3, 9)),
          "mask.keys has size 3 in dimension 0; 2 or 1 is accepted"),
      bad(
          () -> AttentionMask.keys(of(BYTE, 1, 1)),
          "mask.keys has size 1 in dimension 1; 9 is accepted"),
      bad(
          () -> AttentionMask.pairs(of(BYTE, 2, 2, 5, 9)),
          "mask.pairs has size 2 in dimension 1; 4 or 1 is accepted"),
      bad(
          () -> AttentionMask.pairs(of(DType.FLOAT16, 2, 4, 5, 9)),
          "mask.pairs is FLOAT16; INT8 is accepted"),
      bad(
          () -> AttentionMask.bias(of(BYTE, 2, 4, 5, 9)),
          "mask.bias is INT8; FLOAT16, BFLOAT16 and FLOAT32 are accepted"),
      bad(
          () -> AttentionMask.bias(of(DType.FLOAT16, 1, 1, 9, 5)),
          "mask.bias has size 9 in dimension 2; 5 or 1 is accepted"),
      bad(() -> AttentionMask.slidingWindow(-1, 0), "left is -1; 0 or more is accepted"),
      bad(() -> AttentionMask.slidingWindow(0, -2), "right is -2; 0 or more is accepted"),
      bad(() -> AttentionMask.prefixLm(-1), "prefix is -1; 0 or more is accepted"),
      bad(() -> AttentionMask.dilated(1, 1, 0), "step is 0; 1 or more is accepted"),
      bad(AttentionMask::blockDiagonal, "queryLengths is empty; one length per document is needed"),
      bad(
          () -> AttentionMask.blockDiagonal(new long[] {5}, new long[] {4, 5}),
          "keyLengths has 2 entries and queryLengths 1; they must agree"),
      bad(() -> AttentionMask.blockDiagonal(6, -1), "queryLengths[1] is -1; 0 or more is accepted"),
      bad(
          () -> AttentionMask.blockDiagonal(new long[] {5}, new long[] {8}),
          "mask.blockDiagonal has documents of 8 keys in all; 9 is accepted"),
      bad(
          () -> AttentionMask.neighbourhood(new int[] {3, 3}, new int[] {3}),
          "window is [3]; as many sizes as the grid [3, 3] has are needed"),
      bad(
          () -> AttentionMask.neighbourhood(new int[] {3, 3}, new int[] {3, 4}),
          "window[1] is 4; 1 to 3 are accepted"),
      bad(
          () -> AttentionMask.neighbourhood(new int[] {1, 2, 3, 4}, new int[4]),
          "grid is [1, 2, 3, 4]; 1 to 3 sizes are needed"),
      bad(
          () -> AttentionMask.neighbourhood(new int[] {3, 3}, new int[] {3, 3}),
          "mask.neighbourhood has a grid of 9 cells; it is for as many queries and keys, and there are"
              + " 5 and 9"),
      bad(
          () -> AttentionMask.alibi(1, 2),
          "mask.alibi has 2 slopes; one per query head is needed, 4"),
      bad(() -> AttentionMask.alibi(1, Float.NaN), "slopes[1] is NaN; a finite number is accepted"),
      bad(() -> AttentionMask.alibi(), "slopes is empty; one per query head is needed"),
      bad(() -> AttentionMask.prefixLm(1).and(null), "other is null; a mask is needed"),
      bad(
          () -> AttentionMask.keys(DeviceTensor.wrap(0, 4096, BYTE, TensorShape.contiguous(2, 9))),
          "mask is device memory and q is host memory; all tensors must be in the same kind"),
    };
  }

  @Test(dataProvider = "badMasks")
  public void badMaskIsRefused(Make make, String message) {
    assertEquals(
        expectThrows(
                InvalidAttentionArgumentException.class,
                () -> request(5, 9).mask(make.mask()).build())
            .getMessage(),
        message);
  }

  @Test
  public void outputMustNotOverlapTheMask() {
    HostTensor storage = HostTensor.allocate(DType.FLOAT32, 2, 4, 5, 8);
    HostTensor bias =
        HostTensor.view(storage.memory(), 0, DType.FLOAT32, TensorShape.contiguous(1, 1, 5, 9));
    AttentionRequest.Builder builder = request(5, 9).o(storage).mask(AttentionMask.bias(bias));
    assertEquals(
        expectThrows(InvalidAttentionArgumentException.class, builder::build).getMessage(),
        "mask overlaps o or lse; the outputs need memory of their own");
  }

  @Test
  public void closedMaskIsRefused() {
    HostTensor keys = HostTensor.allocate(BYTE, 1, 9);
    AttentionRequest request = request(5, 9).mask(AttentionMask.keys(keys)).build();
    Attention.sdpa(request);
    keys.close();
    assertEquals(
        expectThrows(ClosedTensorException.class, () -> Attention.sdpa(request)).getMessage(),
        "mask is closed; it must be open during the call");
  }

  @Test
  public void kernelsReadOneTensorOfEachKind() {
    AttentionMask keys = AttentionMask.keys(of(BYTE, 2, 9));
    AttentionMask bias = AttentionMask.bias(of(DType.FLOAT16, 1, 1, 5, 9));
    assertNull(keys.and(bias).deviceObstacle());
    assertSame(keys.and(bias).seen(), keys.seen());
    assertSame(keys.and(bias).bias(), bias.bias());
    assertNull(keys.bias());
    assertEquals(
        keys.and(keys).deviceObstacle(),
        "mask has 2 tensors of keys or pairs, 0 of biases and 0 windows; GPU kernels read one of each");
    assertEquals(
        keys.and(AttentionMask.blockDiagonal(4, 5)).deviceObstacle(),
        "mask has the rule block-diagonal of 2 documents; of rules GPU kernels read sliding windows"
            + " and prefix-LM alone");
    AttentionMask window = keys.and(AttentionMask.slidingWindow(7, Long.MAX_VALUE));
    assertNull(window.deviceObstacle());
    assertEquals(
        new long[] {window.windowLeft(), window.windowRight(), window.windowPrefix()},
        new long[] {7, -1, 0});
    AttentionMask prefix = AttentionMask.prefixLm(3);
    assertEquals(
        new long[] {prefix.windowLeft(), prefix.windowRight(), prefix.windowPrefix()},
        new long[] {-1, 0, 3});
    assertEquals(
        new long[] {keys.windowLeft(), keys.windowRight(), keys.windowPrefix()},
        new long[] {-1, -1, 0});
    assertEquals(
        window.and(prefix).deviceObstacle(),
        "mask has 1 tensors of keys or pairs, 0 of biases and 2 windows; GPU kernels read one of"
            + " each");
  }

  @Test
  public void deviceMaskHasNoNegativeStride() {
    DeviceMemory memory = DeviceMemory.wrap(0, 1 << 20, 1 << 16);
    TensorShape backwards = TensorShape.strided(new long[] {2, 8}, new long[] {8, -1});
    TensorShape shape = TensorShape.contiguous(2, 4, 8, 16);
    AttentionRequest.Builder builder =
        AttentionRequest.builder()
            .q(DeviceTensor.view(memory, 4096, DType.FLOAT16, shape))
            .k(DeviceTensor.view(memory, 8192, DType.FLOAT16, shape))
            .v(DeviceTensor.view(memory, 16384, DType.FLOAT16, shape))
            .o(DeviceTensor.view(memory, 32768, DType.FLOAT16, shape))
            .mask(AttentionMask.keys(DeviceTensor.view(memory, 16, BYTE, backwards)));
    assertEquals(
        expectThrows(InvalidAttentionArgumentException.class, builder::build).getMessage(),
        "mask.stride[1] is -1; the strides of a device tensor must not be negative");
  }

  @Test
  public void tensorsAreAsSmallAsTheMaskAllows() {
    AttentionDims dims = request(4, 4).build().dims();
    AttentionMask documents = AttentionMask.blockDiagonal(1, 3).toTensors(dims);
    assertEquals(documents.toString(), "pairs INT8 [1, 1, 4, 4]");
    assertEquals(picture(documents, 4, 4), "#.../.###/.###/.###");
    AttentionMask alibi = AttentionMask.alibi(1, 2, 3, 4).toTensors(dims);
    assertEquals(alibi.toString(), "pairs INT8 [1, 4, 4, 4] and bias FLOAT32 [1, 4, 4, 4]");
    AttentionMask keys = AttentionMask.keys(of(BYTE, 2, 4)).toTensors(dims);
    assertEquals(keys.toString(), "pairs INT8 [2, 1, 4, 4]");
    InvalidAttentionArgumentException e =
        expectThrows(
            InvalidAttentionArgumentException.class,
            () -> AttentionMask.blockDiagonal(5).toTensors(dims));
    assertEquals(
        e.getMessage(), "mask.blockDiagonal has documents of 5 queries in all; 4 is accepted");
  }

  @Test
  public void oneMaskServesManyRequests() {
    AttentionMask mask = AttentionMask.slidingWindow(3, 0);
    for (int length : new int[] {1, 5, 100}) {
      Attention.sdpa(request(length, length).mask(mask).build());
    }
    assertEquals(mask.toString(), "sliding window 3/0");
    assertTrue(mask.tensors().isEmpty());
  }
}
