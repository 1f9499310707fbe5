package org.attn4j.distributed;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.Supplier;
import org.attn4j.InvalidAttentionArgumentException;
import org.attn4j.distributed.RankException.Kind;
import org.attn4j.distributed.WorldOptions.Transport;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Backend;
import org.bytedeco.pytorch.Store;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.Work;
import org.bytedeco.pytorch.global.torch.ErrorType;

/**
 * The ranks of one program, connected: each is a process (or a thread) that joined with the same
 * size, master and generation.
 *
 * <p>Calls that say so are collective: every rank makes them, in the same order, one at a time. A
 * {@link RankException} other than a mismatch loses the world: later calls throw at once, {@link
 * #close} frees it, and the ranks that are left may join a new one, on another port or, if an agent
 * serves the store, in another generation.
 *
 * <p>A world is used by one thread at a time, {@link #abort} and {@link #close} included: they free
 * what a call under way still uses. A call ends by itself within the time-out.
 */
public final class World implements AutoCloseable {
  private static final int PROBE_TAG = 7;
  private static final Duration PROBING = Duration.ofSeconds(2);
  private static final long PAUSE_MILLIS = 20;

  private final RankEnvironment environment;
  private final WorldOptions options;
  private final String address;
  private final Store store;
  private final Backend control;
  private final Map<String, Backend> groups = new LinkedHashMap<>();
  private volatile RankException loss;
  private boolean closed;

  private World(RankEnvironment environment, WorldOptions options, Store store) {
    this.environment = environment;
    this.options = options;
    this.store = store;
    String given = options.address();
    address =
        given != null
            ? given
            : Groups.addressTowards(environment.masterHost(), environment.masterPort());
    control = group(Transport.GLOO, "control", rank(), size());
  }

  /**
   * Connects to the other ranks; returns when all have come.
   *
   * @param environment which rank this is, and where they meet
   * @param options transport and time-outs
   * @return the world; the caller closes it
   * @throws RankException STORE_LOST if the store can't be served (its port is taken) or reached,
   *     TIMEOUT if a rank hasn't come within {@link WorldOptions#joinTimeout}
   */
  public static World join(RankEnvironment environment, WorldOptions options) {
    if (environment == null || options == null) {
      throw new InvalidAttentionArgumentException(
          (environment == null ? "environment" : "options")
              + " is null; RankEnvironment.ofProcess() and WorldOptions.DEFAULTS are accepted");
    }
    Store store = Stores.connect(environment, options.joinTimeout());
    try {
      Arrivals.await(environment, options, store);
      return new World(environment, options, store);
    } catch (RuntimeException e) {
      store.close();
      throw e instanceof RankException ? e : joinFailed(e);
    }
  }

  private static RuntimeException joinFailed(RuntimeException e) {
    Kind kind = Failures.ofExchange(e);
    return kind == null
        ? e
        : new RankException(
            kind, -1, "the ranks could not be connected: " + Failures.firstLine(e), e);
  }

  /**
   * This process's number, from 0.
   *
   * @return from 0
   */
  public int rank() {
    return environment.rank();
  }

  /**
   * The number of ranks.
   *
   * @return 1 or more
   */
  public int size() {
    return environment.size();
  }

  /**
   * What this rank joined with.
   *
   * @return the environment
   */
  public RankEnvironment environment() {
    return environment;
  }

  /**
   * What this rank joined with.
   *
   * @return the options
   */
  public WorldOptions options() {
    return options;
  }

  /**
   * Why the world was lost; null: it wasn't.
   *
   * @return the first failure, or null
   */
  public RankException loss() {
    return loss;
  }

  /**
   * Collective: returns when every rank has called it. NCCL's messages fail on the GPU, and no host
   * waits for them: a barrier after the stream was synchronised says whether they all arrived.
   *
   * @throws RankException if a rank, or a message before this call, was lost
   */
  @SuppressWarnings("try") // the scope is there to be closed
  public void barrier() {
    requireUsable();
    groups.values().forEach(this::requireHealthy);
    try (PointerScope temporaries = new PointerScope()) {
      finish(guarded(-1, "the barrier", control::barrier), -1, "the barrier");
    }
  }

  /**
   * Ends the world for all: the others' calls, pending and to come, throw a {@link RankException}
   * of kind ABORTED with this reason. Any rank may call it, once it can't go on by itself, and
   * while none of its own calls is under way. It doesn't wait.
   *
   * @param reason a sentence for the others
   */
  public void abort(String reason) {
    requireOpen();
    if (loss == null) {
      String sentence = "rank " + rank() + " gave up: " + reason;
      loss = new RankException(Kind.ABORTED, rank(), sentence, null);
      Report.publish(this, loss);
    }
    closeGroups();
  }

  /**
   * Leaves the world and frees what it has, at once, or, if rank 0 leaves a lost world, within two
   * seconds: call {@link #barrier} first if others may still need this rank, above all rank 0,
   * which serves the store.
   */
  @Override
  public synchronized void close() {
    if (!closed) {
      if (loss != null) {
        letOthersRead();
      }
      closed = true;
      closeGroups();
      control.close();
      store.close();
    }
  }

  private synchronized void closeGroups() {
    boolean lost = loss != null || options.transport() == Transport.NCCL && brokenConnection() >= 0;
    groups.values().forEach(group -> Groups.close(group, options.transport(), lost));
    groups.clear();
    if (loss != null && !closed) {
      control.abort();
    }
  }

  private Backend group(Transport transport, String name, int member, int members) {
    String prefix = key("group/" + name);
    return Groups.create(transport, store, prefix, member, members, options, address);
  }

  /**
   * What carries tensors between these ranks. Made at the first call for them, which is collective
   * among them.
   */
  Exchange exchange(int... ranks) {
    requireUsable();
    String name = Arrays.toString(ranks);
    int member = Arrays.stream(ranks).boxed().toList().indexOf(rank());
    Backend group = groups.get(name);
    if (group == null) {
      String what = "connecting ranks " + name;
      group = guarded(-1, what, () -> group(options.transport(), name, member, ranks.length));
      groups.put(name, group);
    }
    return new C10dExchange(this, group, ranks, member);
  }

  /** Collective: each rank's text. */
  List<String> texts(String what, String text) {
    requireUsable();
    return Texts.gather(this, control, what, text);
  }

  /**
   * Collective: throws if any rank was given another text.
   *
   * @param what what the text describes, for the sentence
   */
  void requireSame(String what, String text) {
    List<String> texts = texts("comparing " + what, text);
    for (int other = 0; other < size(); other++) {
      String theirs = texts.get(other);
      if (!theirs.equals(text)) {
        throw new RankException(
            Kind.MISMATCH,
            other,
            what + " differs: " + Difference.sentence(rank(), text, other, theirs),
            null);
      }
    }
  }

  /** A key of this generation. */
  String key(String name) {
    return "g" + environment.generation() + "/" + name;
  }

  Store store() {
    return store;
  }

  /** Throws if NCCL's watchdog found that a message of this group failed or timed out. */
  @SuppressWarnings("try") // the scope is there to be closed
  void requireHealthy(Backend group) {
    if (options.transport() != Transport.NCCL) {
      return;
    }
    try (PointerScope temporaries = new PointerScope()) {
      ErrorType error = group.getError().intern();
      if (error == ErrorType.SUCCESS) {
        return;
      }
      int lost = brokenConnection();
      boolean late = error == ErrorType.TIMEOUT && lost < 0;
      String sentence =
          late
              ? "a rank did not answer within " + seconds(options.timeout())
              : (lost < 0 ? "a rank" : "rank " + lost) + " was lost";
      RankException own =
          new RankException(
              late ? Kind.TIMEOUT : Kind.PEER_LOST,
              lost,
              sentence + " while messages of GPUs were under way: NCCL says " + error,
              null);
      throw lose(Report.first(this, own));
    }
  }

  /** Runs a call of a group; {@code peer} is the rank at the other end, or -1. */
  <T> T guarded(int peer, String what, Supplier<T> call) {
    requireUsable();
    try {
      return call.get();
    } catch (RuntimeException e) {
      throw failed(e, peer, what);
    }
  }

  /** Waits for a work. */
  void finish(Work work, int peer, String what) {
    boolean done = guarded(peer, what, () -> work._wait());
    if (!done) { // somebody aborted it: what it should have received is not there
      String sentence = what + " was aborted";
      throw lose(new RankException(Kind.ABORTED, peer, sentence, null));
    }
  }

  private RuntimeException failed(RuntimeException e, int peer, String what) {
    if (loss != null) {
      return again();
    }
    Kind kind = e instanceof RankException ? null : Failures.ofExchange(e);
    if (kind == null) {
      return e;
    }
    int culprit = kind == Kind.PEER_LOST && peer < 0 ? firstLost() : peer;
    String who = culprit < 0 ? "a rank" : "rank " + culprit;
    String sentence =
        kind == Kind.TIMEOUT
            ? who + " did not answer within " + seconds(options.timeout()) + " in " + what
            : who + " was lost in " + what;
    RankException own =
        new RankException(kind, culprit, sentence + ": " + Failures.firstLine(e), e);
    return lose(Report.first(this, own));
  }

  static String seconds(Duration time) {
    return time.toMillis() % 1000 == 0
        ? time.toSeconds() + " s"
        : String.format(Locale.ROOT, "%.3f s", time.toMillis() / 1e3);
  }

  /**
   * The first rank whose connection is broken, or -1. The connections of a rank that died break one
   * after the other: this one may be some milliseconds behind that which was noticed.
   */
  private int firstLost() {
    long end = System.nanoTime() + PROBING.toNanos();
    int lost = brokenConnection();
    while (lost < 0 && System.nanoTime() < end) {
      pause();
      lost = brokenConnection();
    }
    return lost;
  }

  @SuppressWarnings("try") // the scope is there to be closed
  private int brokenConnection() {
    try (PointerScope temporaries = new PointerScope()) {
      List<Work> pending = new ArrayList<>(); // a send to a rank that lives; nobody waits for it
      TensorVector message = new TensorVector(Tensors.bytes(1, -1));
      for (int other = 0; other < size(); other++) {
        try {
          if (other != rank()) {
            pending.add(control.send(message, other, PROBE_TAG));
          }
        } catch (RuntimeException e) {
          return other;
        }
      }
      return -1;
    }
  }

  private static void pause() {
    try {
      Thread.sleep(PAUSE_MILLIS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  /**
   * Rank 0 takes the store with it, and with the store what it reported: it leaves a lost world
   * once the others have been told, or after a moment.
   */
  private void letOthersRead() {
    long end = System.nanoTime() + PROBING.toNanos();
    while (rank() == 0
        && !environment.agentStore()
        && System.nanoTime() < end
        && Report.told(this) < size() - 1) {
      pause();
    }
  }

  private RankException lose(RankException e) {
    loss = e;
    return e;
  }

  private RankException again() {
    return new RankException(loss.kind(), loss.peer(), loss.getMessage(), loss);
  }

  /** Throws if the world was closed or lost. */
  void requireUsable() {
    requireOpen();
    if (loss != null) {
      throw again();
    }
  }

  private void requireOpen() {
    if (closed) {
      throw new IllegalStateException("the world is closed; use it before close()");
    }
  }

  @Override
  public String toString() {
    return "rank " + rank() + " of " + size() + " over " + options.transport();
  }
}
