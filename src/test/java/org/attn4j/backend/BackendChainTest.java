package org.attn4j.backend;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertSame;
import static org.testng.Assert.expectThrows;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.ResourceBundle;
import org.attn4j.AttentionOptions;
import org.attn4j.AttentionRequest;
import org.attn4j.BackendInfo;
import org.attn4j.BackendMode;
import org.attn4j.BackendVerdict;
import org.attn4j.BackendVerdict.Outcome;
import org.attn4j.DType;
import org.attn4j.DeviceMemory;
import org.attn4j.DeviceTensor;
import org.attn4j.HostTensor;
import org.attn4j.InvalidAttentionArgumentException;
import org.attn4j.SdpaBackend;
import org.attn4j.SparsityOptions;
import org.attn4j.SparsityTensors;
import org.attn4j.TensorShape;
import org.attn4j.UnsupportedAttentionException;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/**
 * Order, modes, settings, explain and log lines of the chain, with backends that only say yes or
 * no.
 */
public class BackendChainTest {
  private static final Settings NO_SETTINGS = new Settings(SdpaBackend.AUTO, false);

  private final List<String> log = new ArrayList<>();
  private final List<SdpaBackend> ran = new ArrayList<>();

  private final System.Logger logger =
      new System.Logger() {
        @Override
        public String getName() {
          return "test";
        }

        @Override
        public boolean isLoggable(Level level) {
          return true;
        }

        @Override
        public void log(Level level, ResourceBundle bundle, String message, Throwable thrown) {
          log.add(message);
        }

        @Override
        public void log(Level level, ResourceBundle bundle, String format, Object... params) {
          log.add(format);
        }
      };

  private final class Fake implements AttentionBackend {
    private final SdpaBackend name;
    private String refusal;

    Fake(SdpaBackend name, String refusal) {
      this.name = name;
      this.refusal = refusal;
    }

    @Override
    public SdpaBackend name() {
      return name;
    }

    @Override
    public BackendInfo info() {
      return new BackendInfo(name.id(), refusal == null, refusal == null ? "yes" : refusal);
    }

    @Override
    public Support supports(AttentionRequest request) {
      return refusal == null ? Support.served("kernel x", 42) : Support.refused(refusal);
    }

    @Override
    public void run(AttentionRequest request, Support answer) {
      assertEquals(answer.workspaceBytes(), 42);
      ran.add(name);
    }
  }

  private final Fake sparge = new Fake(SdpaBackend.SPARGE, null);
  private final Fake sage = new Fake(SdpaBackend.SAGE, null);
  private final Fake exact = new Fake(SdpaBackend.EXACT, null);
  private final Fake cpu = new Fake(SdpaBackend.CPU, null);

  @BeforeMethod
  public void reset() {
    log.clear();
    ran.clear();
    sparge.refusal = null;
    sage.refusal = null;
    exact.refusal = null;
    cpu.refusal = null;
  }

  private BackendChain chain(Settings settings) {
    // In the wrong order on purpose: the names decide.
    return new BackendChain(settings, List.of(cpu, exact, sparge, sage), logger);
  }

  private static AttentionRequest request(SdpaBackend backend, BackendMode mode) {
    HostTensor tensor = HostTensor.allocate(DType.FLOAT32, 1, 1, 1, 1);
    return AttentionRequest.builder()
        .q(tensor)
        .k(tensor)
        .v(tensor)
        .o(HostTensor.allocate(DType.FLOAT32, 1, 1, 1, 1))
        .options(AttentionOptions.builder().backend(backend).mode(mode).build())
        .build();
  }

  private static AttentionRequest auto() {
    return request(SdpaBackend.AUTO, BackendMode.PREFER);
  }

  @DataProvider
  public Object[][] choices() {
    return new Object[][] {
      // chosen, mode, which backends refuse, which serves (null: none)
      {SdpaBackend.AUTO, BackendMode.PREFER, "", SdpaBackend.SPARGE},
      {SdpaBackend.AUTO, BackendMode.PREFER, "sparge", SdpaBackend.SAGE},
      {SdpaBackend.AUTO, BackendMode.PREFER, "sparge sage", SdpaBackend.EXACT},
      {SdpaBackend.AUTO, BackendMode.PREFER, "sparge sage exact", SdpaBackend.CPU},
      {SdpaBackend.AUTO, BackendMode.PREFER, "sparge sage exact cpu", null},
      {SdpaBackend.SAGE, BackendMode.PREFER, "", SdpaBackend.SAGE},
      {SdpaBackend.SAGE, BackendMode.PREFER, "sage", SdpaBackend.EXACT},
      {SdpaBackend.EXACT, BackendMode.PREFER, "exact", SdpaBackend.CPU},
      {SdpaBackend.PYTORCH, BackendMode.PREFER, "", SdpaBackend.CPU},
      {SdpaBackend.CPU, BackendMode.PREFER, "cpu", null},
      {SdpaBackend.SAGE, BackendMode.REQUIRE, "", SdpaBackend.SAGE},
      {SdpaBackend.SAGE, BackendMode.REQUIRE, "sage", null},
      {SdpaBackend.PYTORCH, BackendMode.REQUIRE, "", null},
      {SdpaBackend.AUTO, BackendMode.REQUIRE, "sparge", SdpaBackend.SAGE},
      {SdpaBackend.AUTO, BackendMode.REQUIRE, "sparge sage", null},
      {SdpaBackend.AUTO, BackendMode.OFF, "", SdpaBackend.EXACT},
      {SdpaBackend.AUTO, BackendMode.OFF, "exact", SdpaBackend.CPU},
      {SdpaBackend.CPU, BackendMode.OFF, "", SdpaBackend.CPU},
    };
  }

  @Test(dataProvider = "choices")
  public void firstBackendThatSupportsServes(
      SdpaBackend chosen, BackendMode mode, String refusing, SdpaBackend expected) {
    for (Fake backend : List.of(sparge, sage, exact, cpu)) {
      backend.refusal = List.of(refusing.split(" ")).contains(backend.name.id()) ? "no" : null;
    }
    BackendChain chain = chain(NO_SETTINGS);
    AttentionRequest request = request(chosen, mode);
    if (expected == null) {
      expectThrows(UnsupportedAttentionException.class, () -> chain.run(request, null));
      assertEquals(ran, List.of());
    } else {
      assertSame(chain.run(request, null).backend(), expected);
      assertEquals(ran, List.of(expected));
    }
  }

  @Test
  public void refusalNamesEveryReason() {
    sparge.refusal = "a; b";
    sage.refusal = "c; d";
    UnsupportedAttentionException refusal =
        expectThrows(
            UnsupportedAttentionException.class,
            () -> chain(NO_SETTINGS).run(request(SdpaBackend.AUTO, BackendMode.REQUIRE), null));
    assertEquals(refusal.getMessage(), "no backend serves the request: sparge: a; b; sage: c; d");
    assertEquals(
        refusal.verdicts(),
        List.of(
            new BackendVerdict(SdpaBackend.SPARGE, Outcome.REFUSES, "a; b"),
            new BackendVerdict(SdpaBackend.SAGE, Outcome.REFUSES, "c; d")));
  }

  @Test
  public void systemPropertyReplacesAutoButNotAChoice() {
    BackendChain chain = chain(Settings.of("exact", null));
    assertSame(chain.run(auto(), null).backend(), SdpaBackend.EXACT);
    assertSame(
        chain.run(request(SdpaBackend.SAGE, BackendMode.PREFER), null).backend(), SdpaBackend.SAGE);
    assertSame(chain(Settings.of("cpu", null)).run(auto(), null).backend(), SdpaBackend.CPU);
  }

  @Test
  public void environmentSwitchesTheQuantisedBackendsOff() {
    BackendChain chain = chain(Settings.of(null, "1"));
    assertSame(chain.run(auto(), null).backend(), SdpaBackend.EXACT);
    UnsupportedAttentionException refusal =
        expectThrows(
            UnsupportedAttentionException.class,
            () -> chain.run(request(SdpaBackend.SAGE, BackendMode.REQUIRE), null));
    assertEquals(
        refusal.getMessage(),
        "no backend serves the request: sage: LD_DISABLE_SAGE_ATTENTION switches it off");
  }

  /** Thresholds permit, so anyone may serve; a report is asked of sparge alone. */
  @Test
  public void onlySpargeReportsBlocks() {
    DeviceMemory memory = DeviceMemory.wrap(0, 1 << 20, 1 << 20); // nothing reads it
    DeviceTensor q =
        DeviceTensor.view(memory, 0, DType.FLOAT16, TensorShape.contiguous(1, 1, 1, 8));
    DeviceTensor o =
        DeviceTensor.view(memory, 64, DType.FLOAT16, TensorShape.contiguous(1, 1, 1, 8));
    DeviceTensor share =
        DeviceTensor.view(memory, 128, DType.FLOAT32, TensorShape.contiguous(1, 1));
    AttentionRequest.Builder request = AttentionRequest.builder().q(q).k(q).v(q).o(o);
    sparge.refusal = "no";
    BackendChain chain = chain(NO_SETTINGS);
    assertSame(chain.plan(request.build()).backend(), SdpaBackend.SAGE);
    request.sparsityTensors(SparsityTensors.builder().sparsity(share).build());
    UnsupportedAttentionException refusal =
        expectThrows(UnsupportedAttentionException.class, () -> chain.plan(request.build()));
    assertEquals(
        refusal.verdicts().get(1).toString(),
        "sage REFUSES: the request has a block mask or asks for a report of blocks");
    sparge.refusal = null;
    assertSame(chain.plan(request.build()).backend(), SdpaBackend.SPARGE);
  }

  @Test
  public void systemPropertiesSetThresholds() {
    assertEquals(Settings.sparsity(name -> null), SparsityOptions.DEFAULTS);
    Map<String, String> properties =
        Map.of("org.attn4j.sparsity.simthreshd1", "0.5", "org.attn4j.sparsity.cdfthreshd", " 0.9");
    assertEquals(
        Settings.sparsity(properties::get),
        SparsityOptions.DEFAULTS.withSimthreshd1(0.5f).withCdfthreshd(0.9f));
    assertEquals(
        expectThrows(
                InvalidAttentionArgumentException.class,
                () -> Settings.sparsity(name -> name.endsWith("pvthreshd") ? "many" : null))
            .getMessage(),
        "the system property org.attn4j.sparsity.pvthreshd is many; a number is needed");
    expectThrows(InvalidAttentionArgumentException.class, () -> Settings.sparsity(name -> "7"));
  }

  @Test
  public void settingsAreReadStrictly() {
    assertEquals(Settings.of(null, null), NO_SETTINGS);
    assertEquals(Settings.of(" AUTO ", "0"), NO_SETTINGS);
    assertEquals(Settings.of("PyTorch", ""), new Settings(SdpaBackend.PYTORCH, false));
    assertEquals(Settings.of("", "1"), new Settings(SdpaBackend.AUTO, true));
    assertEquals(
        expectThrows(InvalidAttentionArgumentException.class, () -> Settings.of("saeg", null))
            .getMessage(),
        "the system property org.attn4j.backend is saeg; one of auto, sparge, sage, exact,"
            + " pytorch, cpu is accepted");
    assertEquals(
        expectThrows(InvalidAttentionArgumentException.class, () -> Settings.of(null, "ja"))
            .getMessage(),
        "the environment variable LD_DISABLE_SAGE_ATTENTION is ja; 1, true, yes, on, 0, false, no"
            + " and off are accepted");
    for (String on : new String[] {"1", "true", "TRUE", " yes ", "On"}) {
      assertEquals(Settings.of(null, on), new Settings(SdpaBackend.AUTO, true), on);
    }
    for (String off : new String[] {"0", "false", "False", "no", "off\n", " "}) {
      assertEquals(Settings.of(null, off), NO_SETTINGS, off);
    }
  }

  @Test
  public void planIsReusedWithoutAskingAgain() {
    BackendChain chain = chain(NO_SETTINGS);
    AttentionRequest request = auto();
    Plan plan = chain.run(request, null);
    sparge.refusal = "would refuse now";
    assertSame(chain.run(request, plan), plan);
    assertEquals(ran, List.of(SdpaBackend.SPARGE, SdpaBackend.SPARGE));
  }

  @Test
  public void eachBackendIsAnnouncedOnceAndEachReasonLoggedOnce() {
    BackendChain chain = chain(NO_SETTINGS);
    chain.run(auto(), null);
    chain.run(auto(), null);
    sparge.refusal = "no masks; lengths are accepted";
    chain.run(auto(), null);
    chain.run(auto(), null);
    sparge.refusal = null;
    chain.run(auto(), null);
    assertEquals(
        log,
        List.of(
            "Using SpargeAttn (Sparse + SageAttention) cross attention",
            "Falling back from sparge to sage: no masks; lengths are accepted",
            "Using SageAttention cross attention"));
  }

  @Test
  public void logLinesOfAllBackends() {
    assertEquals(SdpaBackend.EXACT.firstUseMessage(), "Using fused cross attention");
    assertEquals(SdpaBackend.PYTORCH.firstUseMessage(), "Using pytorch cross attention");
    assertEquals(SdpaBackend.CPU.firstUseMessage(), "Using cpu cross attention");
  }

  @Test
  public void fallbackLogIsBounded() {
    BackendChain chain = chain(NO_SETTINGS);
    for (int i = 0; i < 1000; i++) {
      sparge.refusal = "length " + i;
      chain.run(auto(), null);
    }
    assertEquals(log.size(), 256 + 1);
  }

  @Test
  public void explainAsksAllAndRunsNothing() {
    sparge.refusal = "too short";
    List<BackendVerdict> verdicts = chain(NO_SETTINGS).explain(auto());
    assertEquals(
        verdicts.stream().map(BackendVerdict::toString).toList(),
        List.of(
            "sparge REFUSES: too short",
            "sage SERVES: kernel x",
            "exact SERVES: kernel x",
            "pytorch NOT_ASKED: it serves calls of org.attn4j.pytorch.Attn4j alone, which is in"
                + " org.attn4j:attn4j-pytorch",
            "cpu SERVES: kernel x"));
    assertEquals(log, List.of());
    assertEquals(ran, List.of());
    verdicts = chain(NO_SETTINGS).explain(request(SdpaBackend.SAGE, BackendMode.REQUIRE));
    assertEquals(
        verdicts.get(2).toString(),
        "exact NOT_ASKED: mode REQUIRE with backend SAGE doesn't ask it");
  }

  @Test
  public void callersBackendHasItsPlaceAndIsRunByTheCaller() {
    BackendChain chain = chain(NO_SETTINGS).withCaller(SdpaBackend.PYTORCH, "torch's kernel");
    assertSame(chain.plan(auto()).backend(), SdpaBackend.SPARGE);
    sparge.refusal = "no";
    sage.refusal = "no";
    exact.refusal = "no";
    Plan plan = chain.plan(auto());
    assertSame(plan.backend(), SdpaBackend.PYTORCH);
    expectThrows(IllegalStateException.class, () -> chain.run(auto(), plan));
    log.clear();
    chain.served(SdpaBackend.PYTORCH);
    chain.served(SdpaBackend.PYTORCH);
    assertEquals(log, List.of("Using pytorch cross attention"));
    assertEquals(ran, List.of());
  }

  @Test
  public void callThatIsNoRequestIsLeftToTheCaller() {
    BackendChain chain = chain(NO_SETTINGS).withCaller(SdpaBackend.PYTORCH, "torch's kernel");
    AttentionOptions auto = AttentionOptions.DEFAULTS;
    assertSame(chain.plan(auto, "a dense mask", null).backend(), SdpaBackend.PYTORCH);
    assertEquals(log, List.of("Falling back from sparge, sage, exact to pytorch: a dense mask"));
    assertEquals(
        chain.explain(auto, "a dense mask", null).stream().map(BackendVerdict::toString).toList(),
        List.of(
            "sparge REFUSES: a dense mask",
            "sage REFUSES: a dense mask",
            "exact REFUSES: a dense mask",
            "pytorch SERVES: torch's kernel",
            "cpu REFUSES: a dense mask"));
    AttentionOptions sageAlone =
        auto.toBuilder().backend(SdpaBackend.SAGE).mode(BackendMode.REQUIRE).build();
    assertEquals(
        expectThrows(
                UnsupportedAttentionException.class,
                () -> chain.plan(sageAlone, "a dense mask", null))
            .getMessage(),
        "no backend serves the request: sage: a dense mask");
  }

  /** What PyTorch answers is answered, whatever backend a program prefers. */
  @Test
  public void callersBackendGoesOnBehindTheOneThatWasChosen() {
    BackendChain chain = chain(NO_SETTINGS).withCaller(SdpaBackend.PYTORCH, "torch's kernel");
    cpu.refusal = "no";
    for (BackendMode mode : List.of(BackendMode.PREFER, BackendMode.OFF)) {
      AttentionOptions options =
          AttentionOptions.builder().backend(SdpaBackend.CPU).mode(mode).build();
      assertSame(chain.plan(options, "an empty tensor", null).backend(), SdpaBackend.PYTORCH);
      assertSame(chain.plan(request(SdpaBackend.CPU, mode)).backend(), SdpaBackend.PYTORCH);
      List<BackendVerdict> verdicts = chain.explain(options, "an empty tensor", null);
      assertEquals(verdicts.get(3).toString(), "cpu REFUSES: an empty tensor");
      assertEquals(verdicts.get(4).toString(), "pytorch SERVES: torch's kernel");
    }
    AttentionRequest cpuAlone = request(SdpaBackend.CPU, BackendMode.REQUIRE);
    expectThrows(UnsupportedAttentionException.class, () -> chain.plan(cpuAlone));
  }

  /** Nobody wonders that a GPU backend doesn't take host memory. */
  @Test
  public void theKindOfMemoryIsNotLogged() {
    BackendChain chain =
        new BackendChain(
            NO_SETTINGS, List.of(new ExactBackend(), new SageBackend(NO_SETTINGS), cpu), logger);
    assertSame(chain.plan(auto()).backend(), SdpaBackend.CPU);
    assertSame(
        chain
            .withCaller(SdpaBackend.PYTORCH, "torch's kernel")
            .plan(AttentionOptions.DEFAULTS, BackendChain.CALLERS_MEMORY, null)
            .backend(),
        SdpaBackend.PYTORCH);
    assertEquals(log, List.of());
  }

  @Test
  public void callThatTheCallerCannotServeEitherIsRefused() {
    BackendChain chain = chain(NO_SETTINGS).withCaller(SdpaBackend.PYTORCH, "torch's kernel");
    AttentionOptions auto = AttentionOptions.DEFAULTS;
    String message =
        expectThrows(
                UnsupportedAttentionException.class,
                () -> chain.plan(auto, "a dense mask", "a report of blocks"))
            .getMessage();
    assertEquals(
        message,
        "no backend serves the request: sparge: a dense mask; sage: a dense mask; exact: a dense"
            + " mask; pytorch: a report of blocks; cpu: a dense mask");
    assertEquals(
        chain.explain(auto, "a dense mask", "a report of blocks").get(3).toString(),
        "pytorch REFUSES: a report of blocks");
    assertEquals(log, List.of());
  }
}
