package org.attn4j.onnxruntime;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import java.nio.FloatBuffer;
import java.nio.IntBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.EnumMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import org.attn4j.torch.HookOutcome;
import org.testng.SkipException;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.Test;

/**
 * The operator in ONNX Runtime's own sessions on the CPU, over kernels in host memory that stand in
 * for ours, against sessions without it.
 */
public class OrtAttentionTest {
  private static final int HEADS = 4;
  private static final long WIDTH = HEADS * 16;
  private static final long[] Q = {2, 5, WIDTH};
  private static final long[] K = {2, 7, WIDTH};
  private static final double FP16 = 4e-3; // inputs and result rounded to fp16, values up to 4

  private final OrtEnvironment environment = OrtEnvironment.getEnvironment();

  @BeforeClass
  public void needsNatives() {
    if (!Files.exists(Path.of(System.getProperty("org.attn4j.torch.cpuLibrary", "")))) {
      throw new SkipException("no native library of attn4j-torch: this machine has no g++");
    }
  }

  private OrtSession session(byte[] model, boolean ours) throws OrtException {
    try (OrtSession.SessionOptions options = new OrtSession.SessionOptions()) {
      if (ours) {
        assertEquals(OrtAttention.register(options), Optional.empty());
      }
      return environment.createSession(model, options);
    }
  }

  private OnnxTensor random(long seed, long... sizes) {
    Random random = new Random(seed);
    long count = 1;
    for (long size : sizes) {
      count *= size;
    }
    float[] values = new float[(int) count];
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) Math.max(-4, Math.min(4, random.nextGaussian()));
    }
    try {
      return OnnxTensor.createTensor(environment, FloatBuffer.wrap(values), sizes);
    } catch (OrtException e) {
      throw new IllegalStateException(e);
    }
  }

  private Map<String, OnnxTensor> inputs(long[] q, long[] k) {
    Map<String, OnnxTensor> inputs = new LinkedHashMap<>();
    inputs.put("q", random(1, q));
    inputs.put("k", random(2, k));
    inputs.put("v", random(3, k));
    return inputs;
  }

  private static OnnxModel model(int type, long[] q, long[] k) {
    return OnnxModel.in(type, HEADS)
        .input("q", OnnxModel.FLOAT, q)
        .input("k", OnnxModel.FLOAT, k)
        .input("v", OnnxModel.FLOAT, k);
  }

  /** All outputs one after the other. */
  private static float[] run(OrtSession session, Map<String, OnnxTensor> inputs)
      throws OrtException {
    try (OrtSession.Result result = session.run(inputs)) {
      List<Float> values = new ArrayList<>();
      for (var output : result) {
        FloatBuffer buffer = ((OnnxTensor) output.getValue()).getFloatBuffer();
        while (buffer.hasRemaining()) {
          values.add(buffer.get());
        }
      }
      float[] array = new float[values.size()];
      for (int i = 0; i < array.length; i++) {
        array[i] = values.get(i);
      }
      return array;
    }
  }

  private float[] run(byte[] model, boolean ours, Map<String, OnnxTensor> inputs)
      throws OrtException {
    try (OrtSession session = session(model, ours)) {
      return run(session, inputs);
    }
  }

  private static Map<HookOutcome, Long> since(Map<HookOutcome, Long> before) {
    Map<HookOutcome, Long> now = new EnumMap<>(HookOutcome.class);
    OrtAttention.counts()
        .forEach(
            (outcome, n) -> {
              if (n > before.getOrDefault(outcome, 0L)) {
                now.put(outcome, n - before.getOrDefault(outcome, 0L));
              }
            });
    return now;
  }

  /** In fp16 by us, in fp32 by ONNX Runtime alone. */
  private void assertServed(OnnxModel half, OnnxModel single, Map<String, OnnxTensor> inputs)
      throws OrtException {
    assertServed(half, single, inputs, inputs);
  }

  private void assertServed(
      OnnxModel half,
      OnnxModel single,
      Map<String, OnnxTensor> inputs,
      Map<String, OnnxTensor> inputsOfSingle)
      throws OrtException {
    float[] expected = run(single.bytes(), false, inputsOfSingle);
    Map<HookOutcome, Long> before = OrtAttention.counts();
    float[] actual = run(half.bytes(), true, inputs);
    assertEquals(since(before), Map.of(HookOutcome.SAGE, 1L), OrtAttention.explainLast());
    assertEquals(actual.length, expected.length);
    for (int i = 0; i < actual.length; i++) {
      assertEquals(actual[i], expected[i], FP16, "element " + i);
    }
  }

  /** With the operator bit for bit what comes without. */
  private void assertLeft(HookOutcome why, OnnxModel single, Map<String, OnnxTensor> inputs)
      throws OrtException {
    byte[] bytes = single.bytes();
    float[] expected = run(bytes, false, inputs);
    Map<HookOutcome, Long> before = OrtAttention.counts();
    assertEquals(run(bytes, true, inputs), expected);
    assertEquals(since(before), Map.of(why, 1L), OrtAttention.explainLast());
  }

  // --------------------------------------------------------------------------------------- served

  @Test
  public void halfIsServed() throws OrtException {
    assertServed(
        model(OnnxModel.FLOAT16, Q, K).output("o", Q),
        model(OnnxModel.FLOAT, Q, K).output("o", Q),
        inputs(Q, K));
    assertTrue(
        OrtAttention.explainLast().startsWith("SageAttention served the call"),
        OrtAttention.explainLast());
  }

  @Test
  public void scaleAndUnidirectionalAreServed() throws OrtException {
    float[] plain = run(model(OnnxModel.FLOAT, Q, Q).output("o", Q).bytes(), false, inputs(Q, Q));
    for (String attribute : List.of("scale", "unidirectional")) {
      float[] other = run(with(attribute, OnnxModel.FLOAT).bytes(), false, inputs(Q, Q));
      assertFalse(Arrays.equals(other, plain), attribute + " changes nothing");
      assertServed(
          with(attribute, OnnxModel.FLOAT16), with(attribute, OnnxModel.FLOAT), inputs(Q, Q));
    }
  }

  /**
   * As tools of ONNX Runtime write them for GPUs; on the CPU it has no kernel for packed tensors.
   */
  @Test
  public void packedTensorsAndHeadsFirstAreServed() throws OrtException {
    long[] qkv = {2, 5, HEADS, 3, 16};
    long[] kv = {2, 7, HEADS, 2, 16};
    long[] headsFirst = {2, HEADS, 7, 16};
    float[] x = random(1, qkv).getFloatBuffer().array();
    Map<String, OnnxTensor> apart = inputs(Q, K);
    apart.put("q", part(x, 5, 3, 0));
    apart.put("k", part(x, 5, 3, 1));
    apart.put("v", part(x, 5, 3, 2));
    OnnxModel packed = OnnxModel.in(OnnxModel.FLOAT16, HEADS).input("q", OnnxModel.FLOAT, qkv);
    assertServed(packed.output("o", Q), Q, Map.of("q", random(1, qkv)), apart);
    float[] y = random(2, kv).getFloatBuffer().array();
    apart.put("q", random(3, Q));
    apart.put("k", part(y, 7, 2, 0));
    apart.put("v", part(y, 7, 2, 1));
    packed =
        OnnxModel.in(OnnxModel.FLOAT16, HEADS)
            .input("q", OnnxModel.FLOAT, Q)
            .input("kv", OnnxModel.FLOAT, kv);
    assertServed(packed.output("o", Q), K, Map.of("q", random(3, Q), "kv", random(2, kv)), apart);
    OnnxModel[] models = new OnnxModel[2];
    for (int i = 0; i < 2; i++) { // this form ONNX Runtime has on the CPU, too
      models[i] =
          OnnxModel.in(i == 0 ? OnnxModel.FLOAT16 : OnnxModel.FLOAT, HEADS)
              .input("q", OnnxModel.FLOAT, Q)
              .input("k", OnnxModel.FLOAT, headsFirst)
              .input("v", OnnxModel.FLOAT, headsFirst)
              .output("o", Q);
    }
    Map<String, OnnxTensor> inputs = inputs(Q, headsFirst);
    assertServed(models[0], models[1], inputs, inputs);
  }

  private void assertServed(
      OnnxModel half, long[] keys, Map<String, OnnxTensor> packed, Map<String, OnnxTensor> apart)
      throws OrtException {
    assertServed(half, model(OnnxModel.FLOAT, Q, keys).output("o", Q), packed, apart);
  }

  /** One of the tensors that are packed as (2, length, heads, parts, 16). */
  private OnnxTensor part(float[] packed, int length, int parts, int part) throws OrtException {
    float[] values = new float[packed.length / parts];
    for (int i = 0; i < values.length; i++) {
      values[i] = packed[(i / 16 * parts + part) * 16 + i % 16];
    }
    return OnnxTensor.createTensor(
        environment, FloatBuffer.wrap(values), new long[] {2, length, WIDTH});
  }

  private static OnnxModel with(String attribute, int type) {
    OnnxModel model = model(type, Q, Q).output("o", Q);
    return attribute.equals("scale")
        ? model.attribute(attribute, 0.1f)
        : model.attribute(attribute, 1);
  }

  @Test
  public void threadsShareASession() throws Exception {
    byte[] bytes = model(OnnxModel.FLOAT16, Q, K).output("o", Q).bytes();
    Map<String, OnnxTensor> inputs = inputs(Q, K);
    Map<HookOutcome, Long> before = OrtAttention.counts();
    List<Throwable> failures = Collections.synchronizedList(new ArrayList<>());
    try (OrtSession session = session(bytes, true)) {
      float[] expected = run(session, inputs);
      Thread[] threads = new Thread[4];
      for (int t = 0; t < threads.length; t++) {
        threads[t] =
            new Thread(
                () -> {
                  try {
                    for (int i = 0; i < 200; i++) {
                      assertEquals(run(session, inputs), expected);
                    }
                  } catch (Throwable e) {
                    failures.add(e);
                  }
                });
        threads[t].start();
      }
      for (Thread thread : threads) {
        thread.join();
      }
    }
    assertEquals(failures, List.of());
    assertEquals(since(before), Map.of(HookOutcome.SAGE, 801L));
  }

  // ---------------------------------------------------------------------- left to ONNX Runtime

  @Test
  public void singleIsLeft() throws OrtException {
    assertLeft(HookOutcome.TYPE, model(OnnxModel.FLOAT, Q, K).output("o", Q), inputs(Q, K));
  }

  @Test
  public void biasIsLeft() throws OrtException {
    Map<String, OnnxTensor> inputs = inputs(Q, K);
    inputs.put("bias", random(4, 3 * WIDTH));
    OnnxModel model =
        model(OnnxModel.FLOAT, Q, K).input("bias", OnnxModel.FLOAT, 3 * WIDTH).output("o", Q);
    assertLeft(HookOutcome.MASK, model, inputs);
  }

  @Test
  public void paddingIsLeft() throws OrtException {
    Map<String, OnnxTensor> inputs = inputs(Q, K);
    inputs.put(
        "lengths",
        OnnxTensor.createTensor(environment, IntBuffer.wrap(new int[] {3, 7}), new long[] {2}));
    OnnxModel model =
        model(OnnxModel.FLOAT, Q, K)
            .input("", 0)
            .input("lengths", OnnxModel.INT32, 2)
            .output("o", Q);
    assertLeft(HookOutcome.MASK, model, inputs);
  }

  @Test
  public void attentionBiasIsLeft() throws OrtException {
    long[] sizes = {1, HEADS, Q[1], K[1]};
    Map<String, OnnxTensor> inputs = inputs(Q, K);
    inputs.put("added", random(5, sizes));
    OnnxModel model =
        model(OnnxModel.FLOAT, Q, K)
            .input("", 0)
            .input("", 0)
            .input("added", OnnxModel.FLOAT, sizes)
            .output("o", Q);
    assertLeft(HookOutcome.MASK, model, inputs);
  }

  /** Three outputs, two of which grow. */
  @Test
  public void thePastIsLeft() throws OrtException {
    long[] past = {2, HEADS, 3, 16};
    long[] present = {2, HEADS, 3 + Q[1], 16};
    Map<String, OnnxTensor> inputs = inputs(Q, Q);
    inputs.put("past_k", random(6, past));
    inputs.put("past_v", random(7, past));
    OnnxModel model =
        model(OnnxModel.FLOAT, Q, Q)
            .input("", 0)
            .input("", 0)
            .input("", 0)
            .input("past_k", OnnxModel.FLOAT, past)
            .input("past_v", OnnxModel.FLOAT, past)
            .output("o", Q)
            .output("present_k", present)
            .output("present_v", present);
    assertLeft(HookOutcome.MASK, model, inputs);
  }

  /** A causal mask of other lengths may mean something else there. */
  @Test
  public void unidirectionalOfOtherLengthsIsLeft() throws OrtException {
    OnnxModel half = model(OnnxModel.FLOAT16, Q, K).attribute("unidirectional", 1).output("o", Q);
    Map<HookOutcome, Long> before = OrtAttention.counts();
    try (OrtSession session = session(half.bytes(), true)) {
      expectThrows(OrtException.class, () -> run(session, inputs(Q, K)));
    }
    assertEquals(since(before), Map.of(HookOutcome.SHAPE, 1L));
  }

  /** The first keys come without a past; values are wider than keys. */
  @Test
  public void thePresentAloneIsLeft() throws OrtException {
    long[] wide = {2, 5, 2 * WIDTH};
    Map<String, OnnxTensor> inputs = inputs(Q, Q);
    inputs.put("v", random(8, wide));
    OnnxModel model =
        OnnxModel.in(OnnxModel.FLOAT, HEADS)
            .input("q", OnnxModel.FLOAT, Q)
            .input("k", OnnxModel.FLOAT, Q)
            .input("v", OnnxModel.FLOAT, wide)
            .output("o", wide)
            .output("present_k", 2, HEADS, Q[1], 16)
            .output("present_v", 2, HEADS, Q[1], 32);
    assertLeft(HookOutcome.RANK, model, inputs);
  }

  @Test
  public void valueOfOtherWidthIsLeft() throws OrtException {
    long[] wide = {2, 7, 2 * WIDTH};
    long[] output = {2, 5, 2 * WIDTH};
    Map<String, OnnxTensor> inputs = inputs(Q, K);
    inputs.put("v", random(8, wide));
    OnnxModel model =
        OnnxModel.in(OnnxModel.FLOAT, HEADS)
            .input("q", OnnxModel.FLOAT, Q)
            .input("k", OnnxModel.FLOAT, K)
            .input("v", OnnxModel.FLOAT, wide)
            .output("o", output);
    assertLeft(HookOutcome.TYPE, model, inputs);
  }

  @Test
  public void switchedOffEveryNodeIsLeft() throws OrtException {
    Optional<String> none = OrtAttention.register(new OrtSession.SessionOptions());
    assertEquals(none, Optional.empty());
    OrtAttention.setEnabled(false);
    try {
      OnnxModel model = model(OnnxModel.FLOAT, Q, K).output("o", Q);
      assertLeft(HookOutcome.SWITCHED_OFF, model, inputs(Q, K));
    } finally {
      OrtAttention.setEnabled(true);
    }
  }

  /** ONNX Runtime has no kernel in fp16 on the CPU, and our kernels no head of 264 channels. */
  @Test
  public void whatNobodyServesIsAnException() throws OrtException {
    long[] sizes = {1, 3, HEADS * 264};
    byte[] bytes = model(OnnxModel.FLOAT16, sizes, sizes).output("o", sizes).bytes();
    try (OrtSession session = session(bytes, true)) {
      String message =
          expectThrows(OrtException.class, () -> run(session, inputs(sizes, sizes))).getMessage();
      assertTrue(message.contains("ONNX Runtime has no kernel for it"), message);
    }
    assertTrue(OrtAttention.explainLast().contains("more channels"), OrtAttention.explainLast());
  }
}
