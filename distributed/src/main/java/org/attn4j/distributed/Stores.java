package org.attn4j.distributed;

import java.time.Duration;
import org.attn4j.distributed.RankException.Kind;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.javacpp.SizeTPointer;
import org.bytedeco.javacpp.chrono.Milliseconds;
import org.bytedeco.pytorch.PrefixStore;
import org.bytedeco.pytorch.Store;
import org.bytedeco.pytorch.TCPStore;
import org.bytedeco.pytorch.TCPStoreOptions;

/**
 * Key-value stores.
 *
 * <p>What the preset's constructors of stores return isn't reference-counted: C++ adopts it when it
 * is first handed over, and Java would free it a second time. Here every store is handed over once,
 * is then C++'s alone, and what is kept is a counted reference to it.
 */
final class Stores {
  private Stores() {}

  /** Serves the store if this rank has to, and connects to it. */
  @SuppressWarnings("try") // the scope is there to be closed
  static Store connect(RankEnvironment environment, Duration timeout) {
    boolean serves = environment.rank() == 0 && !environment.agentStore();
    try (PointerScope temporaries = new PointerScope()) {
      TCPStoreOptions options =
          new TCPStoreOptions()
              .port((short) environment.masterPort())
              .isServer(serves)
              .numWorkers(new SizeTPointer(1).put(environment.size()))
              .waitWorkers(false) // World.join waits by itself, and says for whom
              .timeout(new Milliseconds(timeout.toMillis()));
      TCPStore made = new TCPStore(environment.masterHost(), options);
      PrefixStore adopter =
          new PrefixStore("attn4j", made); // freed with the scope: nobody adopts it
      Tensors.givenAway(made);
      return Tensors.keep(adopter.getUnderlyingStore());
    } catch (RuntimeException e) {
      throw unreachable(environment, serves, e);
    }
  }

  private static RankException unreachable(
      RankEnvironment environment, boolean serves, RuntimeException e) {
    String where = environment.masterHost() + ":" + environment.masterPort();
    String sentence =
        Failures.portTaken(e)
            ? "rank 0 can't serve the store on " + where + ": the port is taken; choose another"
            : "the store on "
                + where
                + " can't be "
                + (serves ? "served: " : "reached: ")
                + Failures.firstLine(e);
    return new RankException(Kind.STORE_LOST, serves ? environment.rank() : 0, sentence, e);
  }
}
