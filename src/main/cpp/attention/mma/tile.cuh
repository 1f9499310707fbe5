// What the kernels on mma.sync share: the shape of a tile, and which tiles a CTA visits.
#pragma once

#include "arch/arch.h"
#include "attention/arguments.h"
#include "attention/nonfinite.cuh"
#include "device/tile.cuh"

namespace attn4j {

// Where the fragments of Q are for the whole loop: in registers, or read from shared memory in each step.
enum class QueryPlace { kRegisters, kShared };

// A CTA of kWarps warps owns kWarps * kWarpRows queries. Tiles of kStageKeys keys are loaded at once, and worked off in
// steps of kKeys: what the registers hold. kBytes is the size of an element of Q and K; kTail follows the K tile in its
// image. VTile_ is how V lies; kScratch bytes are the softmax's own. kFewRegisters: what can be
// elsewhere at 128 channels is.
template <int kD_, int kBytes, int kWarps_, int kWarpRows_, int kStageKeys_, int kKeys_, QueryPlace kPlace_, int kTail,
          class VTile_ = PanelTile<kStageKeys_, kD_>, int kScratch = 0, bool kFewRegisters = arch::kFewRegisters>
struct MmaTile {
  static constexpr int kD = kD_, kWarps = kWarps_, kWarpRows = kWarpRows_, kStageKeys = kStageKeys_, kKeys = kKeys_;
  static constexpr QueryPlace kPlace = kPlace_;
  static constexpr int kRows = kWarps * kWarpRows, kThreads = 32 * kWarps;
  static constexpr int kBlocks = kWarpRows / 16;  // 16-row blocks of a warp
  static constexpr int kSteps = kStageKeys / kKeys;
  static constexpr int kChunks = kD * kBytes / 32;  // k steps of Q K^T
  static constexpr int kKBytes = kStageKeys * kD * kBytes + kTail;
  using VTile = VTile_;
  static constexpr int kSlotBytes = kKBytes + VTile::kBytes;
  static_assert(kSlotBytes % 128 == 0, "lane addresses are xor-ed");

  // One slot is worked on while the other is filled: two CTAs per SM hide each other's waits, and a third slot gains
  // nothing (measured). Q that moves to registers passes through the second slot, and INT8 may reach beyond it.
  static constexpr int kSlots = 2;
  static constexpr int kQBytes = kRows * kD * kBytes;
  static constexpr int kQScaleBytes = kBytes == 1 ? 4 * kRows : 0;
  static constexpr bool kQInRing = kPlace == QueryPlace::kRegisters && (kBytes == 1 || kQBytes <= kSlotBytes);
  static_assert(kQInRing || kQScaleBytes == 0, "scales have no place of their own");
  static constexpr int kRing = kQInRing ? 0 : kQBytes;  // offset of the first slot
  static constexpr int kQOffset = kQInRing ? kRing + kSlotBytes : 0;
  static constexpr int kStaticBytes = 128;  // what the kernel keeps outside
  static constexpr int kOutputBytes = kRows * kD * 2;
  // Scales of Q that stay in shared memory lie behind the ring.
  static constexpr bool kScalesInRegisters = !(kFewRegisters && kD == 128);
  static constexpr int kQScaleOffset = kScalesInRegisters ? kQOffset + kQBytes : kRing + kSlots * kSlotBytes;
  static constexpr int kLoopBytes = kRing + kSlots * kSlotBytes + (kScalesInRegisters ? 0 : kQScaleBytes);
  static constexpr int kStartBytes = kQOffset + kQBytes + (kScalesInRegisters ? kQScaleBytes : 0);
  static constexpr int kScratchAt = kLoopBytes > kStartBytes ? kLoopBytes : kStartBytes;
  static_assert(kScalesInRegisters || kQOffset + kQBytes <= kQScaleOffset);
  static constexpr int kScratchEnd = kScratchAt + kScratch;
  static constexpr int kSmemBytes = kScratchEnd > kOutputBytes ? kScratchEnd : kOutputBytes;
  static constexpr bool fits_twice() { return 2 * (kSmemBytes + kStaticBytes + 1024) <= arch::smem_per_sm(); }
};

// A tile of queries of one head.
struct WorkItem {
  int batch, head, kv_head, first_row;
};

// Where a CTA works: an item, or a part of it, which is an item with fewer keys.
struct WorkTile : WorkItem {
  int first_tile;  // of keys; those below count from here
  int image_tile;  // the same among the tiles of all heads, as images have them
  int kv_length;   // keys of this batch entry, or of the part
  int tiles;       // key tiles that any row of the CTA sees
  int full_tiles;  // leading tiles that every row sees whole
  int part;        // among all parts of the call; -1: an item
};

// The walk of dense attention: every tile of keys that a row of the CTA sees, in order.
class AllTiles {
 public:
  static constexpr bool kSkips = false;
  static constexpr bool kDivides = true;  // items may be parts of such (mma/parts.h)
  static constexpr bool kPacked = false;  // mma/exact_packed.cuh
  static __device__ __forceinline__ unsigned cta() { return blockIdx.x; }
  static int items(const AttentionArgs& args, int query_tiles) { return query_tiles * args.batch * args.heads_q; }
  // The query tile that CTA `index` of a head works on. With a causal mask the longest rows of a head start first.
  static __device__ __forceinline__ int query_tile(const AttentionArgs&, int, int index, int query_tiles) {
    return query_tiles - 1 - index;
  }
  __device__ __forceinline__ AllTiles(const AttentionArgs&, const WorkTile& w)
      : count_(w.tiles), full_count_(w.full_tiles) {}
  __device__ __forceinline__ int count() const { return count_; }
  // Leading tiles of the walk that every row sees whole.
  __device__ __forceinline__ int full_count() const { return full_count_; }
  __device__ __forceinline__ int operator[](int j) const { return j; }
  // The same for j = 1, 2, ...: the loads ahead of the main loop, each asked for once.
  __device__ __forceinline__ int ahead(int j) const { return j; }
  __device__ __forceinline__ VisitedBlocks visited() const { return {}; }

 private:
  int count_, full_count_;
};

template <class Tile, class Walk>
__device__ __forceinline__ WorkItem work_item(const AttentionArgs& args, int index) {
  WorkItem w;
  const int query_tiles = (args.lq + Tile::kRows - 1) / Tile::kRows;
  const int head_index = static_cast<unsigned>(index) / query_tiles;
  w.head = head_index % args.heads_q;
  w.batch = head_index / args.heads_q;
  w.kv_head = w.head / args.group;
  w.first_row =
      Walk::query_tile(args, head_index, static_cast<int>(static_cast<unsigned>(index) % query_tiles), query_tiles) *
      Tile::kRows;
  return w;
}

// Part `part` of `parts` of what a CTA would do.
template <class Tile>
__device__ __forceinline__ void take_part(WorkTile& w, int part, int parts) {
  const int end = w.tiles * (part + 1) / parts;
  w.first_tile = w.tiles * part / parts;
  w.tiles = end - w.first_tile;
  w.full_tiles = min(max(w.full_tiles - w.first_tile, 0), w.tiles);
  w.kv_length = min(w.kv_length - w.first_tile * Tile::kStageKeys, w.tiles * Tile::kStageKeys);
}

template <class Tile, class Walk, bool kDivides>
__device__ __forceinline__ WorkTile work_tile(const AttentionArgs& args) {
  WorkTile w;
  const int cta = static_cast<int>(Walk::cta());
  static_cast<WorkItem&>(w) = work_item<Tile, Walk>(args, kDivides ? args.parts.item(cta) : cta);
  w.first_tile = 0;
  if (kDivides) w.part = -1;
  w.kv_length = args.kv_lengths != nullptr ? min(max(args.kv_lengths[w.batch], 0), args.lk) : args.lk;
  const int last_row = min(w.first_row + Tile::kRows, args.lq) - 1;
  const int most = max(0, min(w.kv_length, last_row + args.causal_offset + 1));
  const int least = max(0, min(w.kv_length, w.first_row + args.causal_offset + 1));
  w.tiles = (most + Tile::kStageKeys - 1) / Tile::kStageKeys;
  w.full_tiles = least / Tile::kStageKeys;
  if (kDivides && args.parts.is_part(cta)) {
    w.part = cta - args.parts.whole;
    take_part<Tile>(w, args.parts.part(cta), args.parts.parts);
  }
  w.image_tile = (w.batch * args.heads_kv + w.kv_head) * (args.lk_padded / Tile::kStageKeys) + w.first_tile;
  return w;
}

}  // namespace attn4j
