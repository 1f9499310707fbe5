// How attention of few queries is divided between CTAs (attention/split/exact.cuh): tile shapes, the plan, and what it
// takes. For the host, and for kernels.
//
// All query heads of a KV head and all queries are rows of one tile, so that K and V are read once. A tile's keys are
// divided between as many CTAs as fill the GPU; what they find is added up by a second kernel.
#pragma once

#include <algorithm>
#include <cstdint>

#include "arch/arch.h"

namespace attn4j {

// A CTA has kTeams teams of kRowWarps warps. A team has the rows of the CTA, 16 * kBlocks per warp, and every kTeams-th
// stage of kStageKeys keys, in a ring of its own. It works through a stage in steps of kStepKeys. There are as many
// teams as 8 warps make, or as shared memory holds.
template <int kD_, int kRowWarps_, int kBlocks_, int kStageKeys_, int kStepKeys_>
struct SplitGeometry {
  static constexpr int kD = kD_, kRowWarps = kRowWarps_, kBlocks = kBlocks_;
  static constexpr int kStageKeys = kStageKeys_, kStepKeys = kStepKeys_;
  static constexpr int kWarpRows = 16 * kBlocks, kRows = kWarpRows * kRowWarps;
  static constexpr int kStageBytes = 2 * kStageKeys * kD * 2;  // K, then V
  static constexpr int kQueryBytes = kRows * kD * 2;
  // What the teams of a CTA add up lies over everything else. The pitch turns the banks.
  static constexpr int kSumPitch = kD + 8;

  static constexpr int sum_bytes(int teams) { return teams * kRows * (kSumPitch + 2) * 4; }
  static constexpr int smem_bytes(int teams, int stages) {
    const int ring = kQueryBytes + teams * stages * kStageBytes;
    return ring > sum_bytes(teams) ? ring : sum_bytes(teams);
  }
  static constexpr bool fits(int teams, int stages) { return smem_bytes(teams, stages) <= arch::smem_per_cta(); }
  static constexpr int most_teams() {
    int teams = 8 / kRowWarps;
    while (teams > 1 && !fits(teams, 2)) teams /= 2;
    return teams;
  }
  static constexpr int kTeams = most_teams();
  static constexpr int kStages = fits(kTeams, 4) ? 4 : fits(kTeams, 3) ? 3 : 2;
  static constexpr int kSmemBytes = smem_bytes(kTeams, kStages);
  static_assert(kSmemBytes <= arch::smem_per_cta());
  static constexpr int kTeamThreads = 32 * kRowWarps, kThreads = kTeamThreads * kTeams;
  static constexpr int kCtaStageKeys = kTeams * kStageKeys;
};

enum class SplitTileId : int32_t { kFew, kPair, kSome, kMany };

// A tile shape as the plan sees it. An SM has one CTA at a time.
struct SplitShape {
  SplitTileId id;
  int32_t rows;
  int32_t stage_keys;  // of all teams
  double rate;         // operations per second of an SM of the GPU below
};

// Tiles of 16, 32, 64 and 128 rows. Above 128 channels the accumulator of 32 rows per warp would not fit the registers,
// and 64 rows are the most.
template <int kD>
struct SplitTiles {
  static constexpr bool kWide = kD > 128;
  // For sm_100 and newer ptxas needs more registers, and spills with 32.
  static constexpr int kStep = arch::kSm >= 100 && kD > 64 ? 16 : 32;
  using Few = SplitGeometry<kD, 1, 1, 16, 16>;
  using Pair = SplitGeometry<kD, kWide ? 2 : 1, kWide ? 1 : 2, 16, 16>;
  using Some = SplitGeometry<kD, kWide ? 4 : 2, kWide ? 1 : 2, 32, kStep>;
  using Many = SplitGeometry<kD, 4, kWide ? 1 : 2, 32, kStep>;

  // Rates of an H200 (docs/decode.md).
  static constexpr SplitShape kShapes[4] = {
      {SplitTileId::kFew, Few::kRows, Few::kCtaStageKeys, 1.9e12},
      {SplitTileId::kPair, Pair::kRows, Pair::kCtaStageKeys, 1.8e12},
      {SplitTileId::kSome, Some::kRows, Some::kCtaStageKeys, 2.4e12},
      {SplitTileId::kMany, Many::kRows, Many::kCtaStageKeys, 2.8e12},
  };
};

// What the combining kernel can add up for a row.
constexpr int32_t kMaxSplits = 256;

// A plan that divides keys makes no more CTAs than this, whatever the GPU: the workspace holds the sums of so many.
constexpr int64_t kMaxSplitCtas = 512;

// The GPU that a plan is made for: SMs, what one does relative to an H200's, and bytes per second of its
// memory in a call, which is four fifths of what copies reach.
struct SplitMachine {
  int32_t multiprocessors;
  double speed, bandwidth;

  // By data sheets but for the H200, which was measured. What is wrong here makes plans that divide keys too much or
  // too little, no wrong results.
  static SplitMachine of(int32_t multiprocessors, double clock) {
    if (arch::kSm == 80) return {multiprocessors, 0.9 * clock, 1.5e12};                        // A100
    if (arch::kSm == 86) return {multiprocessors, 0.3 * clock, 0.8e12};                        // RTX 3090
    if (arch::kSm == 87) return {multiprocessors, 0.5 * clock, 0.17e12};                       // Jetson Orin
    if (arch::kSm == 89) return {multiprocessors, 0.45 * clock, 0.8e12};                       // RTX 4090
    if (arch::kSm == 110 || arch::kSm == 121) return {multiprocessors, 0.45 * clock, 0.2e12};  // Thor, Spark
    if (arch::kSm == 120) return {multiprocessors, 0.45 * clock, 1.4e12};                      // RTX 5090
    return {multiprocessors, clock, 3.4e12};
  }
};

struct SplitProblem {
  int64_t kv_heads;  // batch * heads_kv
  int64_t rows;      // queries * group
  int64_t keys;      // that the last query sees, if all of kv_lengths are lk
  int32_t head_dim;  // compiled
  int32_t channels;  // of the request
  SplitShape shape;

  int64_t row_tiles() const { return std::max<int64_t>(1, (rows + shape.rows - 1) / shape.rows); }
  int64_t tiles() const { return kv_heads * row_tiles(); }
  int64_t stages() const { return (keys + shape.stage_keys - 1) / shape.stage_keys; }
  int64_t most_splits() const {
    return std::max<int64_t>(1,
                             std::min<int64_t>({kMaxSplits, stages(), kMaxSplitCtas / std::max<int64_t>(tiles(), 1)}));
  }
};

struct SplitPlan {
  SplitTileId tile = SplitTileId::kFew;
  int32_t row_tiles = 1;  // of a KV head
  int32_t splits = 1;     // CTAs that share the keys of a row tile
  int64_t ctas = 1;
  double seconds = 0;

  // What keys split into so many parts take, fitted to 1107 launches on an H200 (docs/decode.md). A round of CTAs costs
  // its keys and a constant, which stands for the first copies and for the sums of the teams; a key costs its
  // operations, or its bytes as fast as one SM gets them. All CTAs share one memory.
  static SplitPlan of(const SplitProblem& p, int64_t splits, const SplitMachine& m) {
    constexpr double kStart = 1.4e-6, kRound = 3.8e-6, kRoundRow = 13e-9;
    constexpr double kCombine = 1.8e-6, kCombinePart = 41e-9, kCombineRow = 0.12e-9, kSmBandwidth = 110e9;
    SplitPlan plan;
    plan.tile = p.shape.id;
    plan.row_tiles = static_cast<int32_t>(p.row_tiles());
    plan.splits = static_cast<int32_t>(splits), plan.ctas = p.tiles() * splits;
    const double rounds = static_cast<double>((plan.ctas + m.multiprocessors - 1) / m.multiprocessors);
    const double keys = static_cast<double>((p.stages() + splits - 1) / splits * p.shape.stage_keys);
    const double key =
        std::max(4. * p.shape.rows * p.head_dim / (p.shape.rate * m.speed), 4. * p.channels / kSmBandwidth);
    const double work = rounds * (keys * key + (kRound + kRoundRow * p.shape.rows) / m.speed);
    const double bytes = 4. * p.channels * static_cast<double>(p.kv_heads * p.keys);
    plan.seconds = kStart + std::max(work, bytes / m.bandwidth);
    if (splits > 1) {
      plan.seconds += kCombine + kCombinePart * static_cast<double>(splits) +
                      kCombineRow * static_cast<double>(plan.ctas) * p.shape.rows;
    }
    return plan;
  }

  // The fastest of those that fill the GPU a whole number of times.
  static SplitPlan make(const SplitProblem& p, const SplitMachine& m) {
    SplitPlan best = of(p, 1, m);
    const int64_t most = p.most_splits();
    for (int64_t rounds = 1; rounds <= 4; rounds++) {
      const int64_t splits = std::min(most, rounds * m.multiprocessors / std::max<int64_t>(p.tiles(), 1));
      if (splits <= best.splits) continue;
      const SplitPlan plan = of(p, splits, m);
      if (plan.seconds < best.seconds) best = plan;
      if (splits == most) break;
    }
    return best;
  }

  // Floats that hold the sums of all parts, however many a plan makes: rows of `head_dim` channels, then the reference
  // and the sum of each row.
  static int64_t partial_floats(const SplitProblem& p) {
    return p.most_splits() < 2 ? 0 : p.kv_heads * p.most_splits() * p.rows * (p.head_dim + 2);
  }
};

// What a request is to a plan.
struct SplitRequest {
  int64_t kv_heads, rows, keys;  // as SplitProblem's
  int32_t channels;
};

// Which tile a request gets. kD: the compiled head_dim.
template <int kD>
struct SplitPlanner {
  using Tiles = SplitTiles<kD>;

  // Whether a tile is worth a thought: the smallest that takes all rows; many rows are cut in one of two sizes.
  static bool suits(const SplitShape& shape, int64_t rows) {
    switch (shape.id) {
      case SplitTileId::kFew:
        return rows <= shape.rows;
      case SplitTileId::kPair:
        return rows > Tiles::Few::kRows && rows <= shape.rows;
      case SplitTileId::kSome:
        return rows > Tiles::Pair::kRows;
      case SplitTileId::kMany:
        return rows > Tiles::Some::kRows && !Tiles::kWide;
    }
    return false;
  }

  static SplitProblem problem(const SplitRequest& r, const SplitShape& shape) {
    return {r.kv_heads, r.rows, r.keys, kD, r.channels, shape};
  }

  static SplitPlan plan(const SplitRequest& r, const SplitMachine& machine) {
    SplitPlan best;
    bool found = false;
    for (const SplitShape& shape : Tiles::kShapes) {
      if (!suits(shape, r.rows)) continue;
      const SplitPlan plan = SplitPlan::make(problem(r, shape), machine);
      if (!found || plan.seconds < best.seconds) best = plan;
      found = true;
    }
    return best;
  }

  // Bytes of the sums of all parts that any plan for the request may have, whatever the GPU.
  static int64_t most_partials(const SplitRequest& r) {
    int64_t floats = 0;
    for (const SplitShape& shape : Tiles::kShapes) {
      if (suits(shape, r.rows)) floats = std::max(floats, SplitPlan::partial_floats(problem(r, shape)));
    }
    return floats * static_cast<int64_t>(sizeof(float));
  }
};

}  // namespace attn4j
