package org.attn4j.samples.spark;

import java.io.IOException;
import java.io.Serializable;
import java.io.UncheckedIOException;
import java.net.ServerSocket;
import java.time.Duration;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import org.apache.spark.BarrierTaskContext;
import org.apache.spark.SparkConf;
import org.apache.spark.api.java.JavaSparkContext;
import org.attn4j.CausalMask;
import org.attn4j.DType;
import org.attn4j.distributed.RankEnvironment;
import org.attn4j.distributed.SequenceAttention;
import org.attn4j.distributed.SequenceLayout;
import org.attn4j.distributed.SequenceMesh;
import org.attn4j.distributed.World;
import org.attn4j.distributed.WorldOptions;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import scala.collection.Iterator;
import scala.jdk.javaapi.CollectionConverters;
import scala.reflect.ClassTag$;
import scala.runtime.AbstractFunction1;

/**
 * One sequence over the tasks of a barrier stage, which are the ranks. Arguments: Spark's master
 * and the number of ranks.
 */
public final class BarrierAttention {
  private static final long TOKENS = 333;
  private static final int HEADS = 4;
  private static final int HEAD_DIM = 64;

  private BarrierAttention() {}

  /** Runs a stage, and prints what each rank says. */
  public static void main(String[] args) {
    SparkConf conf = new SparkConf().setAppName("attn4j").setMaster(args[0]);
    int ranks = Integer.parseInt(args[1]);
    try (JavaSparkContext spark = new JavaSparkContext(conf.set("spark.ui.enabled", "false"))) {
      spark
          .parallelize(Collections.nCopies(ranks, 0), ranks)
          .rdd()
          .barrier()
          .mapPartitions(new Task(), false, ClassTag$.MODULE$.<String>apply(String.class))
          .toJavaRDD()
          .collect()
          .forEach(System.out::println);
    }
  }

  /** A rank. Nothing of it may outlive the stage: the next one may give its number to another. */
  private static final class Task extends AbstractFunction1<Iterator<Integer>, Iterator<String>>
      implements Serializable {
    private static final long serialVersionUID = 1;

    @Override
    public Iterator<String> apply(Iterator<Integer> unused) {
      // Spark can't interrupt a wait in native code: a failed stage lasts as long as this.
      WorldOptions options = WorldOptions.DEFAULTS.withTimeout(Duration.ofSeconds(20));
      try (World world = World.join(environment(BarrierTaskContext.get()), options)) {
        String line = attend(world);
        world.barrier();
        return CollectionConverters.asScala(List.of(line).iterator());
      }
    }

    /** Rank 0 picks the port of the store, and Spark tells it to the others. */
    private static RankEnvironment environment(BarrierTaskContext task) {
      String[] hosts =
          Arrays.stream(task.getTaskInfos())
              .map(info -> info.address().split(":")[0])
              .toArray(String[]::new);
      int rank = task.partitionId();
      String port = rank == 0 ? Integer.toString(freePort()) : "";
      int master = Integer.parseInt(task.allGather(port)[0]);
      int before = 0;
      int here = 0;
      for (int other = 0; other < hosts.length; other++) {
        if (hosts[other].equals(hosts[rank])) {
          here++;
          before += other < rank ? 1 : 0;
        }
      }
      return RankEnvironment.of(rank, hosts.length, before, here, hosts[0], master);
    }

    private static int freePort() {
      try (ServerSocket socket = new ServerSocket(0)) {
        return socket.getLocalPort();
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }
  }

  /** This rank's error against attention in one process. */
  @SuppressWarnings("try") // the scope is there to be closed
  private static String attend(World world) {
    SequenceMesh mesh = SequenceMesh.of(1, world.size());
    SequenceLayout layout = SequenceLayout.of(TOKENS, mesh, CausalMask.NONE);
    try (PointerScope scope = new PointerScope();
        SequenceAttention attention =
            SequenceAttention.builder(world, layout)
                .heads(HEADS, HEADS, HEAD_DIM, DType.FLOAT32)
                .build()) {
      Tensor[] whole = new Tensor[3];
      Tensor[] mine = new Tensor[3];
      for (int i = 0; i < 3; i++) {
        // Not from torch's generator: with local[n] the ranks are threads of one process.
        Tensor count = torch.arange(new Scalar(HEADS * TOKENS * HEAD_DIM));
        whole[i] = count.mul(new Scalar(1.7 + i)).sin().view(1, HEADS, TOKENS, HEAD_DIM);
        mine[i] = layout.shard(whole[i], 2, world.rank());
      }
      Tensor o = attention.attend(mine[0], mine[1], mine[2]);
      Tensor wanted = torch.scaled_dot_product_attention(whole[0], whole[1], whole[2]);
      double error = o.sub(layout.shard(wanted, 2, world.rank())).abs().max().item_double();
      return String.format(
          Locale.ROOT,
          "%s, pid %d: %d of %d tokens, largest error %.2g",
          world,
          ProcessHandle.current().pid(),
          layout.length(world.rank()),
          TOKENS,
          error);
    }
  }
}
