package org.attn4j.distributed;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertThrows;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.io.IOException;
import java.net.ServerSocket;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.attn4j.AttentionOptions;
import org.attn4j.CausalMask;
import org.attn4j.DType;
import org.attn4j.InvalidAttentionArgumentException;
import org.attn4j.distributed.RankException.Kind;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.TCPStore;
import org.bytedeco.pytorch.TCPStoreOptions;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/**
 * Joining and leaving, with ranks that are threads of one process, as in Spark's local mode. In a
 * process of its own: Gloo writes to the standard output, which belongs to Surefire in its.
 */
public final class WorldScenarios {
  private static final WorldOptions QUICK =
      WorldOptions.DEFAULTS
          .withTimeout(Duration.ofSeconds(20))
          .withJoinTimeout(Duration.ofSeconds(20));

  private static final DType F32 = DType.FLOAT32;

  private WorldScenarios() {}

  /** Runs the scenario that the argument names. */
  public static void main(String[] args) throws Exception {
    switch (args[0]) {
      case "refusals" -> whatCantBeServedIsASentence();
      case "taken port" -> takenPortIsASentence();
      case "never comes" -> rankThatNeverComesIsNamed();
      case "no store" -> storeThatNobodyServesIsASentence();
      case "same rank twice" -> rankThatComesTwiceIsRefused();
      case "threads" -> ranksMayBeThreads();
      case "agent" -> agentMayServeTheStore();
      default -> throw new IllegalArgumentException(args[0]);
    }
    System.out.println("passed " + args[0]);
    System.exit(0);
  }

  private static RankEnvironment rank(int rank, int size, int port) {
    return RankEnvironment.of(rank, size, rank, size, "127.0.0.1", port);
  }

  @SuppressWarnings("try") // the scope is there to be closed
  private static void whatCantBeServedIsASentence() throws IOException {
    try (World world = World.join(rank(0, 1, Processes.freePort()), QUICK);
        PointerScope scope = new PointerScope()) {
      SequenceLayout layout = SequenceLayout.of(8, SequenceMesh.of(1, 1), CausalMask.NONE);
      SequenceLayout causal = SequenceLayout.of(8, SequenceMesh.of(1, 1), CausalMask.TOP_LEFT);
      SequenceLayout two = SequenceLayout.of(8, SequenceMesh.of(2, 1), CausalMask.NONE);
      AttentionOptions masked = AttentionOptions.builder().causalMask(CausalMask.TOP_LEFT).build();
      refused("2 ranks; the world has 1", () -> builder(world, two).build());
      refused("layout is null", () -> builder(world, null).build());
      refused("heads is 3 and kvHeads 2", () -> builder(world, layout).heads(3, 2, 8, F32).build());
      refused("the type is INT8", () -> builder(world, layout).heads(2, 2, 8, DType.INT8).build());
      refused("batch is 0", () -> builder(world, layout).batch(0).build());
      refused("joint tokens see all", () -> builder(world, causal).jointTokens(2).build());
      refused("takes the mask", () -> builder(world, layout).options(masked).build());
      refused("cudaDevice is -2", () -> builder(world, layout).cudaDevice(-2).build());
      callsThatDontFitAreRefused(world, layout);
    }
  }

  private static void callsThatDontFitAreRefused(World world, SequenceLayout layout) {
    Tensor right = torch.randn(1, 2, 8, 8);
    Tensor longer = torch.randn(1, 2, 9, 8);
    Tensor halves = right.to(torch.ScalarType.Half);
    Tensor learning = torch.randn(1, 2, 8, 8).set_requires_grad(true);
    SequenceAttention attention = builder(world, layout).build();
    assertTrue(attention.explain().contains("query heads 0 to 1"), attention.explain());
    refused("k has sizes [1, 2, 9, 8]", () -> attention.attend(right, longer, right));
    refused("v is FLOAT16", () -> attention.attend(right, right, halves));
    refused("q requires a gradient", () -> attention.attend(learning, right, right));
    refused("q is null", () -> attention.attend(null, right, right));
    refused("built without", () -> attention.attend(right, right, right, right, right, right));
    refused("has 9; the layout has 8", () -> layout.shard(longer, 2, 0));
    refused("has 9 tokens", () -> layout.gather(world, longer, 2));
    attention.attend(right, right, right).close(); // nothing was lost by all that
    attention.close();
    assertThrows(IllegalStateException.class, () -> attention.attend(right, right, right));
  }

  private static SequenceAttention.Builder builder(World world, SequenceLayout layout) {
    return SequenceAttention.builder(world, layout).heads(2, 2, 8, F32);
  }

  private static void refused(String part, Runnable call) {
    Throwable e = expectThrows(InvalidAttentionArgumentException.class, call::run);
    assertTrue(e.getMessage().contains(part), e.getMessage());
  }

  private static void takenPortIsASentence() throws IOException {
    try (ServerSocket taken = new ServerSocket(0)) {
      RankException e =
          expectThrows(
              RankException.class,
              () -> World.join(rank(0, 2, taken.getLocalPort()), QUICK).close());
      assertEquals(e.kind(), Kind.STORE_LOST);
      assertTrue(e.getMessage().contains("the port is taken"), e.getMessage());
    }
  }

  private static void rankThatNeverComesIsNamed() throws IOException {
    int port = Processes.freePort();
    WorldOptions options = QUICK.withJoinTimeout(Duration.ofMillis(1500));
    RankException e =
        expectThrows(RankException.class, () -> World.join(rank(0, 2, port), options).close());
    assertEquals(e.kind(), Kind.TIMEOUT);
    assertEquals(e.peer(), 1);
  }

  private static void storeThatNobodyServesIsASentence() throws IOException {
    int port = Processes.freePort();
    WorldOptions options = QUICK.withJoinTimeout(Duration.ofMillis(1500));
    RankException e =
        expectThrows(RankException.class, () -> World.join(rank(1, 2, port), options).close());
    assertEquals(e.kind(), Kind.STORE_LOST);
    assertTrue(e.getMessage().contains("can't be reached"), e.getMessage());
  }

  private static void rankThatComesTwiceIsRefused() throws Exception {
    int port = Processes.freePort();
    WorldOptions options = QUICK.withJoinTimeout(Duration.ofSeconds(4));
    List<Kind> kinds =
        asThreads(
            3,
            index -> {
              try {
                World.join(rank(Math.min(index, 1), 3, port), options).close();
                return null;
              } catch (RankException e) {
                return e.kind();
              }
            });
    // One of the two is refused; the others wait in vain for rank 2.
    assertEquals(kinds.stream().filter(kind -> kind == Kind.MISMATCH).count(), 1, "" + kinds);
  }

  private static void ranksMayBeThreads() throws Exception {
    int port = Processes.freePort();
    assertEquals(asThreads(2, index -> random(rank(index, 2, port))), List.of(true, true));
  }

  /** As torchrun does it: the agent serves the store, and every rank is a client of it. */
  @SuppressWarnings("try") // the scope is there to be closed
  private static void agentMayServeTheStore() throws Exception {
    try (PointerScope scope = new PointerScope()) {
      TCPStore agent =
          new TCPStore(
              "127.0.0.1", new TCPStoreOptions().port((short) 0).isServer(true).waitWorkers(false));
      int port = agent.getPort() & 0xffff;
      for (int restart = 0; restart < 2; restart++) { // the second start meets the first one's keys
        String count = "" + restart;
        List<Boolean> right =
            asThreads(2, index -> random(RankEnvironment.of(agentVariables(index, port, count))));
        assertEquals(right, List.of(true, true));
      }
    }
  }

  private static Map<String, String> agentVariables(int rank, int port, String restarts) {
    Map<String, String> variables = new HashMap<>(Processes.environment(rank, 2, port));
    variables.put("TORCHELASTIC_USE_AGENT_STORE", "True");
    variables.put("TORCHELASTIC_RESTART_COUNT", restarts);
    return variables;
  }

  private static boolean random(RankEnvironment environment) {
    try (World world = World.join(environment, QUICK)) {
      boolean right = true;
      for (SequenceMesh mesh : CasesRank.meshes(world.size())) {
        // Not from torch's generator: it belongs to the process.
        right &= FixedProblem.error(world, mesh, 16) < 1e-5;
      }
      world.barrier();
      return right;
    }
  }

  private interface OfRank<T> {
    T run(int rank) throws Exception;
  }

  private static <T> List<T> asThreads(int size, OfRank<T> work)
      throws InterruptedException, ExecutionException {
    ExecutorService threads = Executors.newFixedThreadPool(size);
    try {
      List<Callable<T>> calls = new ArrayList<>();
      for (int rank = 0; rank < size; rank++) {
        int index = rank;
        calls.add(() -> work.run(index));
      }
      List<T> results = new ArrayList<>();
      for (Future<T> result : threads.invokeAll(calls)) {
        results.add(result.get());
      }
      return results;
    } finally {
      threads.shutdown();
    }
  }
}
