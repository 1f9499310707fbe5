package org.attn4j.distributed;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.bytedeco.javacpp.PointerScope;

/**
 * A rank that runs random cases. Arguments: the first seed, how many, and {@code gc} if the garbage
 * collector is to run all the time, which frees every native object that nothing in Java holds.
 */
public final class CasesRank {
  private CasesRank() {}

  /** Exits with 1 if a case was wrong. */
  @SuppressWarnings("try") // the scope is there to be closed
  public static void main(String[] args) {
    long first = Long.parseLong(args[0]);
    int count = Integer.parseInt(args[1]);
    WorldOptions options = WorldOptions.DEFAULTS.withTimeout(Duration.ofSeconds(30));
    if (args.length > 2 && args[2].equals("gc")) {
      collectAllTheTime();
    }
    List<String> wrong = new ArrayList<>();
    double worst = 0;
    try (World world = World.join(RankEnvironment.ofProcess(), options)) {
      List<SequenceMesh> meshes = meshes(world.size());
      for (long seed = first; seed < first + count; seed++) {
        AttentionCase random = AttentionCase.random(seed);
        SequenceMesh mesh = meshes.get((int) (seed % meshes.size()));
        try (PointerScope scope = new PointerScope()) {
          double error = random.run(world, mesh);
          worst = Math.max(worst, error);
          if (error > 1) {
            wrong.add(mesh + " " + random + ": " + error + " of what is allowed");
          }
        }
      }
      world.barrier();
    }
    System.out.println("worst " + worst);
    wrong.forEach(System.out::println);
    System.exit(wrong.isEmpty() ? 0 : 1);
  }

  private static void collectAllTheTime() {
    Thread collector =
        new Thread(
            () -> {
              while (true) {
                System.gc();
              }
            });
    collector.setDaemon(true);
    collector.start();
  }

  /** All meshes of so many ranks. */
  static List<SequenceMesh> meshes(int size) {
    List<SequenceMesh> meshes = new ArrayList<>();
    for (int ulysses = 1; ulysses <= size; ulysses++) {
      if (size % ulysses == 0) {
        meshes.add(SequenceMesh.of(size / ulysses, ulysses));
      }
    }
    return meshes;
  }
}
