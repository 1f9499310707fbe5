package org.attn4j.backend;

import java.util.ArrayList;
import java.util.EnumMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.attn4j.AttentionOptions;
import org.attn4j.AttentionRequest;
import org.attn4j.BackendInfo;
import org.attn4j.BackendMode;
import org.attn4j.BackendVerdict;
import org.attn4j.BackendVerdict.Outcome;
import org.attn4j.BlockGrid;
import org.attn4j.DeviceTensor;
import org.attn4j.SdpaBackend;
import org.attn4j.UnsupportedAttentionException;
import org.attn4j.runtime.NativeLibrary;

/**
 * The chain sparge, sage, exact, pytorch, cpu: the first backend that supports a request runs it.
 * {@link SdpaBackend} gives the order. Internal: programs call {@link org.attn4j.Attention}.
 */
public final class BackendChain {
  // Reasons name sizes, so that a program of many shapes has many of them; a log that nobody can
  // read helps nobody.
  private static final int MAX_LOGGED_REASONS = 256;

  /** Why a backend other than sparge refuses a request with a block mask or a report. */
  public static final String NEEDS_SPARGE =
      "the request has a block mask or asks for a report of blocks";

  private static final AtomicReference<BackendChain> OF_THIS_PROCESS = new AtomicReference<>();

  /** Why the caller's own backend is asked first for a call over host memory. */
  public static final String CALLERS_MEMORY =
      "query is on the CPU, where PyTorch's own kernels serve unless the backend cpu is chosen";

  private final Settings settings;
  private final Map<SdpaBackend, AttentionBackend> backends = new EnumMap<>(SdpaBackend.class);
  private final System.Logger logger;
  // Written under this object's monitor; a stale read costs one needless look under it.
  private final boolean[] announced = new boolean[SdpaBackend.values().length];
  // Read without a lock, as each call that falls back asks; written under this object's monitor.
  private final Set<Refusal> loggedReasons = ConcurrentHashMap.newKeySet();
  private int logged; // guarded by this

  BackendChain(Settings settings, List<AttentionBackend> backends, System.Logger logger) {
    this.settings = settings;
    this.logger = logger;
    for (AttentionBackend backend : backends) {
      this.backends.put(backend.name(), backend);
    }
  }

  /**
   * The chain of this process.
   *
   * @throws org.attn4j.InvalidAttentionArgumentException each time, if a setting is misspelt
   */
  public static BackendChain ofThisProcess() {
    BackendChain known = OF_THIS_PROCESS.get();
    if (known != null) {
      return known;
    }
    // Not in a static initialiser: whatever throws there is wrapped in an Error once, and lost from
    // then on. Threads that race here make a chain each, and all use the first.
    OF_THIS_PROCESS.compareAndSet(null, create());
    return OF_THIS_PROCESS.get();
  }

  private static BackendChain create() {
    Settings settings = Settings.fromSystem();
    return new BackendChain(
        settings,
        List.of(
            new SpargeBackend(settings),
            new SageBackend(settings),
            new ExactBackend(),
            new CpuBackend()),
        System.getLogger("org.attn4j"));
  }

  /**
   * A chain of the same backends and one that the caller runs itself, at its place in the order. It
   * serves all that the others refuse; {@link #plan} answers with it, and {@link #served} notes
   * that it ran.
   *
   * @param what one sentence: what the caller runs
   */
  public BackendChain withCaller(SdpaBackend name, String what) {
    List<AttentionBackend> all = new ArrayList<>(backends.values());
    all.add(new CallerBackend(name, what));
    return new BackendChain(settings, all, logger);
  }

  /**
   * Runs a request with the first backend that supports it.
   *
   * @param plan what an earlier call returned for the same request, or null
   * @return the plan, for the next call
   */
  public Plan run(AttentionRequest request, Plan plan) {
    Plan known = plan == null ? plan(request) : decided(request, plan);
    if (plan == null) {
      known.takeDecision();
    }
    AttentionBackend backend = known.implementation();
    backend.run(request, known.answer());
    served(backend.name());
    return known;
  }

  /** The plan of the request's next call: the other one, if the call site decides so. */
  private Plan decided(AttentionRequest request, Plan plan) {
    if (plan.site() == null || plan.takeDecision()) {
      return plan;
    }
    boolean sparse = plan.site().decide(request);
    if (sparse == (plan.backend() == SdpaBackend.SPARGE)) {
      return plan;
    }
    Plan other = plan.other();
    if (other == null) {
      other = otherwise(request, sparse, plan.site());
      plan.other(other);
    }
    return other;
  }

  /** The plan if the call site decides otherwise than it has. */
  private Plan otherwise(AttentionRequest request, boolean sparse, CallSite site) {
    return plan(
        request.options(),
        backend -> {
          if (backend.name() != SdpaBackend.SPARGE) {
            return supports(backend, request);
          }
          return sparse
              ? supports(backend, request).at(site)
              : Support.refused(CallSite.PAYS_NOT).at(site);
        });
  }

  /** Scratch memory that a planned request needs, whatever its call site decides. */
  public long workspaceBytes(AttentionRequest request, Plan plan) {
    if (plan.site() == null) {
      return plan.workspaceBytes();
    }
    if (plan.other() == null) {
      plan.other(otherwise(request, plan.backend() != SdpaBackend.SPARGE, plan.site()));
    }
    return Math.max(plan.workspaceBytes(), plan.other().workspaceBytes());
  }

  /** Logs the first use of a backend. Only a caller that runs a backend itself needs this. */
  public void served(SdpaBackend backend) {
    if (!announced[backend.ordinal()]) {
      announce(backend);
    }
  }

  /**
   * Finds the backend that serves a request.
   *
   * @throws UnsupportedAttentionException if none does
   */
  public Plan plan(AttentionRequest request) {
    return plan(
        request.options(),
        backend -> {
          Support refusal = refusal(backend, request);
          return refusal == null ? backend.plan(request) : refusal;
        });
  }

  /**
   * The plan of a call that can't be put as a request: every backend but the caller's own refuses
   * it with the obstacle.
   *
   * @param callersObstacle why the caller's own backend can't serve it either, or null
   * @throws UnsupportedAttentionException if the caller's backend can't, or isn't asked
   */
  public Plan plan(AttentionOptions options, String obstacle, String callersObstacle) {
    return plan(options, refusing(obstacle, callersObstacle));
  }

  private static Function<AttentionBackend, Support> refusing(
      String obstacle, String callersObstacle) {
    return backend -> {
      if (backend instanceof CallerBackend caller) {
        return callersObstacle == null ? caller.supports(null) : Support.refused(callersObstacle);
      }
      return obstacle.equals(CALLERS_MEMORY)
          ? Support.elsewhere(obstacle)
          : Support.refused(obstacle);
    };
  }

  private Plan plan(AttentionOptions options, Function<AttentionBackend, Support> question) {
    List<BackendVerdict> verdicts = new ArrayList<>();
    List<Refusal> refusals = new ArrayList<>(); // those that are worth a line in the log
    CallSite site = null;
    for (SdpaBackend name : order(options)) {
      AttentionBackend backend = backends.get(name);
      Support support = backend == null ? Support.refused(absent(name)) : ask(backend, question);
      site = support.site() == null ? site : support.site();
      if (support.supported()) {
        logFallback(refusals, name);
        return new Plan(backend, support, site);
      }
      if (!support.elsewhere()) {
        refusals.add(new Refusal(name, support.reason()));
      }
      verdicts.add(new BackendVerdict(name, Outcome.REFUSES, support.reason()));
    }
    throw new UnsupportedAttentionException(
        "no backend serves the request: "
            + verdicts.stream()
                .map(verdict -> verdict.backend().id() + ": " + verdict.reason())
                .collect(Collectors.joining("; ")),
        verdicts);
  }

  /** Every backend's answer, in the order of the chain. Runs and logs nothing. */
  public List<BackendVerdict> explain(AttentionRequest request) {
    return explain(request.options(), backend -> supports(backend, request));
  }

  /** As {@link #explain(AttentionRequest)}, for a call that can't be put as a request. */
  public List<BackendVerdict> explain(
      AttentionOptions options, String obstacle, String callersObstacle) {
    return explain(options, refusing(obstacle, callersObstacle));
  }

  private List<BackendVerdict> explain(
      AttentionOptions options, Function<AttentionBackend, Support> question) {
    List<SdpaBackend> asked = order(options);
    List<BackendVerdict> verdicts = new ArrayList<>();
    for (SdpaBackend name : inOrder(asked)) {
      AttentionBackend backend = backends.get(name);
      if (backend == null) {
        Outcome outcome = asked.contains(name) ? Outcome.REFUSES : Outcome.NOT_ASKED;
        verdicts.add(new BackendVerdict(name, outcome, absent(name)));
      } else if (!asked.contains(name)) {
        verdicts.add(new BackendVerdict(name, Outcome.NOT_ASKED, notAsked(options)));
      } else {
        Support support = ask(backend, question);
        Outcome outcome = support.supported() ? Outcome.SERVES : Outcome.REFUSES;
        verdicts.add(new BackendVerdict(name, outcome, support.reason()));
      }
    }
    return List.copyOf(verdicts);
  }

  /** All backends, those that are asked in the order in which they are. */
  private static List<SdpaBackend> inOrder(List<SdpaBackend> asked) {
    List<SdpaBackend> all = new ArrayList<>(List.of(SdpaBackend.values()));
    all.remove(SdpaBackend.AUTO);
    int last = asked.size() - 1;
    if (last > 0 && asked.get(last).compareTo(asked.get(last - 1)) < 0) { // went back: see order()
      all.remove(asked.get(last));
      all.add(asked.get(last));
    }
    return all;
  }

  private String notAsked(AttentionOptions options) {
    return "mode " + options.mode() + " with backend " + chosen(options) + " doesn't ask it";
  }

  /** Whether each backend of this version can be used in this process. */
  public List<BackendInfo> backends() {
    return backends.values().stream().map(AttentionBackend::info).toList();
  }

  private static String absent(SdpaBackend name) {
    return name == SdpaBackend.PYTORCH
        ? "it serves calls of org.attn4j.pytorch.Attn4j alone, which is in org.attn4j:attn4j-pytorch"
        : "this chain has no " + name.id() + " backend";
  }

  private Support ask(AttentionBackend backend, Function<AttentionBackend, Support> question) {
    if (isQuantised(backend.name()) && settings.quantisedDisabled()) {
      return Support.refused(Settings.DISABLED);
    }
    return question.apply(backend);
  }

  private static Support supports(AttentionBackend backend, AttentionRequest request) {
    Support refusal = refusal(backend, request);
    return refusal == null ? backend.supports(request) : refusal;
  }

  /** Why a backend isn't asked about a request, or null. */
  private static Support refusal(AttentionBackend backend, AttentionRequest request) {
    if (backend.name() != SdpaBackend.SPARGE && request.sparsityTensors().needSparge()) {
      // Leaving blocks out is a permission, so dense attention is a valid answer to thresholds. A
      // mask is an order, and nobody else can report the blocks computed.
      return Support.refused(NEEDS_SPARGE);
    }
    return null;
  }

  /** The blocks of a request. */
  public BlockGrid blockGrid(AttentionRequest request) {
    if (!request.q().isDevice() || !request.q().dtype().isHalf()) {
      throw new UnsupportedAttentionException(
          "q is "
              + (request.q().isDevice() ? request.q().dtype() : "host memory")
              + "; SpargeAttn serves FLOAT16 and BFLOAT16 in device memory",
          List.of());
    }
    BackendInfo sparge = backends.get(SdpaBackend.SPARGE).info();
    if (!sparge.ready()) {
      throw new UnsupportedAttentionException(sparge.reason(), List.of());
    }
    Optional<String> obstacle = NativeLibrary.gpuObstacle(((DeviceTensor) request.q()).device());
    if (obstacle.isPresent()) {
      throw new UnsupportedAttentionException(obstacle.get(), List.of());
    }
    return NativeAttention.blockGrid(request);
  }

  /** The backend that the options name, or the system property if they leave it open. */
  public SdpaBackend chosen(AttentionOptions options) {
    SdpaBackend chosen = options.backend();
    return chosen == SdpaBackend.AUTO ? settings.backend() : chosen;
  }

  /**
   * The backends that may serve requests with these options, best first: what mode and choice
   * leave, without those that the environment switches off.
   */
  public List<SdpaBackend> asked(AttentionOptions options) {
    return order(options).stream()
        .filter(backends::containsKey)
        .filter(name -> !(isQuantised(name) && settings.quantisedDisabled()))
        .toList();
  }

  private static boolean isQuantised(SdpaBackend name) {
    return name == SdpaBackend.SAGE || name == SdpaBackend.SPARGE;
  }

  /**
   * The backends to ask, best first. Those that this version lacks are asked only if they were
   * chosen. A caller's own backend is a promise to serve what the others refuse, so it is asked
   * even if the choice starts behind it.
   */
  private List<SdpaBackend> order(AttentionOptions options) {
    SdpaBackend chosen = chosen(options);
    BackendMode mode = options.mode();
    List<SdpaBackend> order = new ArrayList<>();
    for (SdpaBackend name : SdpaBackend.values()) {
      boolean present = backends.containsKey(name);
      if (name != SdpaBackend.AUTO && (present || name == chosen) && asked(name, chosen, mode)) {
        order.add(name);
      }
    }
    for (AttentionBackend backend : backends.values()) {
      if (backend instanceof CallerBackend
          && mode != BackendMode.REQUIRE
          && !order.contains(backend.name())) {
        order.add(backend.name());
      }
    }
    return order;
  }

  private static boolean asked(SdpaBackend name, SdpaBackend chosen, BackendMode mode) {
    boolean quantised = isQuantised(name);
    return switch (mode) {
      case PREFER -> name.compareTo(chosen) >= 0;
      case REQUIRE -> chosen == SdpaBackend.AUTO ? quantised : name == chosen;
      case OFF -> !quantised && name.compareTo(chosen) >= 0;
    };
  }

  private synchronized void announce(SdpaBackend backend) {
    if (!announced[backend.ordinal()]) {
      announced[backend.ordinal()] = true;
      logger.log(System.Logger.Level.INFO, backend.firstUseMessage());
    }
  }

  /** A backend that didn't serve, and why. */
  private record Refusal(SdpaBackend backend, String reason) {}

  private void logFallback(List<Refusal> refusals, SdpaBackend serving) {
    for (Refusal refusal : refusals) {
      if (!loggedReasons.contains(refusal)) {
        logOnce(refusals, serving);
        return;
      }
    }
  }

  /** One line for each reason that is new, with all backends that have it. */
  private synchronized void logOnce(List<Refusal> refusals, SdpaBackend serving) {
    Map<String, List<String>> backendsByReason = new LinkedHashMap<>();
    for (Refusal refusal : refusals) {
      if (logged < MAX_LOGGED_REASONS && loggedReasons.add(refusal)) {
        logged++;
        backendsByReason
            .computeIfAbsent(refusal.reason(), reason -> new ArrayList<>())
            .add(refusal.backend().id());
      }
    }
    backendsByReason.forEach(
        (reason, names) ->
            logger.log(
                System.Logger.Level.INFO,
                "Falling back from "
                    + String.join(", ", names)
                    + " to "
                    + serving.id()
                    + ": "
                    + reason));
  }
}
