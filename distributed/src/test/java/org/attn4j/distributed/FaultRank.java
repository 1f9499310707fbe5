package org.attn4j.distributed;

import java.time.Duration;
import java.util.Locale;

/**
 * A rank to which something happens. Arguments: the scenario, the rank that it happens to, ring,
 * ulysses, and the port of the world that the others join afterwards.
 */
public final class FaultRank {
  // Of a world in which a rank hangs. In others nobody should have to wait for the end of it.
  static final Duration TIMEOUT = Duration.ofSeconds(6);
  static final Duration PLENTY = Duration.ofSeconds(30);
  private static final int HANG_MILLIS = 60_000;

  private final String scenario;
  private final int victim;
  private final SequenceMesh mesh;
  private final int nextPort;
  private final RankEnvironment environment = RankEnvironment.ofProcess();

  private FaultRank(String[] args) {
    scenario = args[0];
    victim = Integer.parseInt(args[1]);
    mesh = SequenceMesh.of(Integer.parseInt(args[2]), Integer.parseInt(args[3]));
    nextPort = Integer.parseInt(args[4]);
  }

  /** Prints what was caught, and how the world after it went. */
  public static void main(String[] args) {
    new FaultRank(args).run();
    System.exit(0); // with whatever threads c10d may have left
  }

  private static WorldOptions options(Duration timeout) {
    return WorldOptions.DEFAULTS.withTimeout(timeout).withJoinTimeout(Duration.ofSeconds(60));
  }

  private void run() {
    if (scenario.equals("late") && isVictim()) {
      sleep(2500);
    }
    try (World world =
        World.join(environment, options(scenario.equals("hang") ? TIMEOUT : PLENTY))) {
      meet(world);
    }
    if (!isVictim() && nextPort > 0) {
      next();
    }
  }

  /** Something happens between two calls of an attention, or before one is built. */
  private void meet(World world) {
    long start = System.nanoTime();
    try {
      if (scenario.endsWith("building")) {
        happen(world);
        attend(world, mesh, 64);
      } else {
        FixedProblem.between(world, mesh, 64, () -> happen(world));
      }
      world.barrier();
      System.out.println("finished well");
    } catch (RankException e) {
      long millis = (System.nanoTime() - start) / 1_000_000;
      System.out.printf("caught %s %d %d %s%n", e.kind(), e.peer(), millis, e.getMessage());
      again(world);
    }
  }

  private static void sleep(long millis) {
    try {
      Thread.sleep(millis);
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  private boolean isVictim() {
    return environment.rank() == victim;
  }

  private void happen(World world) {
    switch (scenario) {
      case "die", "die-building" -> {
        if (isVictim()) {
          Runtime.getRuntime().halt(9);
        }
      }
      case "hang" -> {
        if (isVictim()) {
          sleep(HANG_MILLIS);
        }
      }
      case "abort" -> {
        if (isVictim()) {
          world.abort("the model could not be read");
        }
      }
      case "mismatch" -> mismatch(world);
      case "late" -> {}
      default -> throw new IllegalArgumentException(scenario);
    }
  }

  /** One rank thinks that heads have 32 channels. The world is sound afterwards. */
  private void mismatch(World world) {
    try {
      attend(world, mesh, isVictim() ? 32 : 64);
      throw new AssertionError("nobody noticed");
    } catch (RankException e) {
      System.out.printf("caught %s %d 0 %s%n", e.kind(), e.peer(), e.getMessage());
    }
  }

  /** A lost world says so at once. */
  private void again(World world) {
    long start = System.nanoTime();
    try {
      world.barrier();
      System.out.println("again nothing");
    } catch (RankException e) {
      System.out.printf("again %s %d%n", e.kind(), (System.nanoTime() - start) / 1_000_000);
    }
  }

  /** Those that are left join a new world. */
  private void next() {
    int rank = environment.rank() - (environment.rank() > victim ? 1 : 0);
    int size = environment.size() - 1;
    RankEnvironment left = RankEnvironment.of(rank, size, rank, size, "127.0.0.1", nextPort);
    try (World world = World.join(left, options(PLENTY))) {
      double error = attend(world, SequenceMesh.of(1, size), 64);
      world.barrier();
      System.out.printf(Locale.ROOT, "next %d %g%n", world.size(), error);
    }
  }

  private static double attend(World world, SequenceMesh on, int headDim) {
    return FixedProblem.error(world, on, headDim);
  }
}
