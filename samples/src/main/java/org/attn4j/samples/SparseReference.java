package org.attn4j.samples;

import java.util.ArrayList;
import java.util.List;
import org.attn4j.BlockGrid;
import org.attn4j.samples.SpargeRun.Thresholds;

/**
 * What SpargeAttn would do, without a GPU: {@link BlockSelection} chooses the blocks, {@link
 * MaskedAttention} computes attention over them. No measure of the kernel's speed.
 */
final class SparseReference {
  private SparseReference() {}

  /** Every order with each of {@code thresholds}, for tokens that come line by line. */
  static List<SpargeRun> runs(PatchTokens raster, List<Thresholds> thresholds) {
    BlockGrid grid = BlockSelection.grid(raster.count(), raster.count());
    List<MaskedAttention> arranged = new ArrayList<>();
    for (PictureOrder order : PictureOrder.values()) {
      PatchTokens tokens = raster.in(order);
      List<BlockMap> maps =
          thresholds.stream().map(t -> BlockSelection.select(tokens, t.options(), grid)).toList();
      arranged.add(new MaskedAttention(tokens, maps));
    }
    MaskedAttention.run(raster, arranged);
    List<SpargeRun> runs = new ArrayList<>();
    for (PictureOrder order : PictureOrder.values()) {
      MaskedAttention attention = arranged.get(order.ordinal());
      for (int i = 0; i < thresholds.size(); i++) {
        runs.add(
            new SpargeRun(
                order,
                thresholds.get(i),
                "java",
                attention.picture(i),
                Double.NaN,
                attention.map(i),
                Double.NaN));
      }
    }
    return runs;
  }
}
