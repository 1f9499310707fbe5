// Sizes of the Hopper kernel: tiles, stages, registers and the shared-memory map, as a function of head_dim.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "quant/fp8_image.cuh"

namespace attn4j {

// Handed from the producer to the consumers in shared memory.
struct alignas(32) WgmmaItem {
  int32_t limit;  // last key that the first row sees; before all else, where WgmmaConsumer::row_limit looks for it
  int32_t tiles;  // stages of keys, from first_tile on; -1: no more items
  int32_t batch, head, first_row;
  float negligible;    // as in WgmmaParams, or a caller's threshold
  int32_t first_tile;  // not 0 in a part of an item
  int32_t partial;     // number of the part over all split items, -1: the item is whole

  // A part of an item that isn't split after all.
  __device__ __forceinline__ bool is_nothing() const { return tiles == 0 && partial >= 0; }
};
static_assert(sizeof(WgmmaItem) == 32);

// Where things lie in shared memory, as device code wants it: offsets, and sizes of one of each, in bytes.
template <class Shared>
struct SharedMap {
  static constexpr int kQAt = offsetof(Shared, q), kQBytes = sizeof(Shared::q[0]);
  static constexpr int kKAt = offsetof(Shared, k), kKBytes = sizeof(Shared::k[0]);
  static constexpr int kVAt = offsetof(Shared, v), kVBytes = sizeof(Shared::v[0]);
  static constexpr int kScaleAt = offsetof(Shared, k_scale), kScaleBytes = sizeof(Shared::k_scale[0]);
  static constexpr int kQScaleAt = offsetof(Shared, q_scale), kQScaleBytes = sizeof(Shared::q_scale[0]);
  static constexpr int kVScaleAt = offsetof(Shared, v_scale), kVScaleBytes = sizeof(Shared::v_scale[0]);
  static constexpr int kItemAt = offsetof(Shared, item), kNegligibleAt = offsetof(WgmmaItem, negligible);
  static constexpr int kBlockAt = offsetof(Shared, block), kBlockBytes = sizeof(Shared::block[0]);
  static constexpr int kSuspectsAt = offsetof(Shared, suspects), kSuspectBytes = sizeof(Shared::suspects[0]);
  static constexpr int kBarrierAt = offsetof(Shared, barrier);
  static_assert(kKBytes % 128 == 0 && kVBytes % 128 == 0 && kScaleBytes % 16 == 0);
};

// What differs between head dims. Every value was measured; docs/hopper.md has the figures.
template <int D>
struct WgmmaTuning {
  static constexpr int kHalfKeys = 64;    // keys of one score buffer: the registers that O and its partial sum leave
  static constexpr int kEarlyPacks = 4;   // packed P registers made before the wait for the multiplies in flight
  static constexpr int kPacksAtOnce = 3;  // packed P registers in the making at once: those made before the wait
  static constexpr int kLatePacksAtOnce = 2;  // and those made after it
  // log2 units between a raised row reference's largest probability and the largest e4m3, before rounding up. More
  // makes raises rarer, and takes as much from e4m3's range below the maximum.
  static constexpr float kHeadroom = 5.f;
  // A row's reference is lowered where all keys of a half lie further below it than this. 2 less than the headroom
  // hardly ever comes true by chance.
  static constexpr float kSink = 3.f;
  // Exponentials are kept between the issue of the multiplies and the wait for them. Worth it where these take long.
  static constexpr bool kHoldExponentials = true;
};

template <>
struct WgmmaTuning<96> : WgmmaTuning<128> {
  static constexpr int kPacksAtOnce = 2, kLatePacksAtOnce = 4;
};

template <>
struct WgmmaTuning<64> {
  static constexpr int kHalfKeys = 96;
  static constexpr int kEarlyPacks = 8;
  static constexpr int kPacksAtOnce = 3, kLatePacksAtOnce = 3;
  static constexpr float kHeadroom = 3.f, kSink = 2.f;
  static constexpr bool kHoldExponentials = false;
};

template <int D>
struct WgmmaPolicy : WgmmaTuning<D> {
  static constexpr int kHeadDim = D;
  static constexpr int kHalf = WgmmaTuning<D>::kHalfKeys, kKeys = 2 * kHalf;  // keys per half and per stage
  static constexpr int kConsumers = 2, kRows = 64 * kConsumers;               // warpgroups, query rows per CTA
  static constexpr int kStreams = 1, kThreads = 128 * (kConsumers + 1);
  static constexpr bool kSlab = false;         // the consumer of fp8_wgmma/consumer.cuh
  static constexpr bool kWholeStages = false;  // K and V of a stage come and go separately
  static constexpr int kStages = 4;
  static constexpr int kVRows = D + 8;  // channels of V's image: the last group holds the row of ones
  static constexpr int kConsumerRegs = 232, kProducerRegs = 40;
  static constexpr bool kRandomDelay = false;  // the checks set it: producer and consumers pause at random
  // Keys come in the order of a list of blocks (fp8_wgmma/fp8_sparse.cuh) instead of all of them.
  static constexpr bool kListed = false;
  // Exponentials of a half are left out where they would add next to nothing (SpargeAttn's pvthreshd).
  static constexpr bool kSkips = false;
  // Looks for keys that add nothing at all and can be left out; stages between looks.
  static constexpr bool kLooks = true;
  static constexpr int kLookEvery = 16;

  struct alignas(128) Shared {
    unsigned char q[2][kRows * D], k[kStages][kKeys * D], v[kStages][kKeys * kVRows];
    float k_scale[kStages][kKeys / 32][4], q_scale[2][kRows], v_scale[2][v_scale_size(D)];
    WgmmaItem item[2];
    int32_t block[kStages][4];             // first keys of each stage's blocks, where keys are listed
    float2 highest[128 * kConsumers];      // references of a thread's two rows
    int32_t suspects[4 * kConsumers][64];  // items that a warp has to look at again (WgmmaSuspects)
    uint64_t barrier[4 * kStages + 4];
  };
  static constexpr int kSmemBytes = sizeof(Shared), kStreamBytes = kSmemBytes;
  using Map = SharedMap<Shared>;
  static constexpr int kHighestAt = offsetof(Shared, highest);
  static constexpr int kFirstBytes = Map::kKBytes + Map::kScaleBytes;  // what K's barrier waits for

  static_assert(kHalf % 32 == 0, "a multiply of P V takes 32 keys");
  static_assert(WgmmaTuning<D>::kEarlyPacks % 4 == 0, "the A operand of one multiply is 4 packed registers");
  static_assert((kConsumerRegs * kConsumers + kProducerRegs) * 128 <= 65536 && kSmemBytes <= 227 * 1024);
};

// Sizes of the form whose O lies in shared memory (fp8_wgmma/slab.cuh): many warpgroups with few registers.
template <int D>
struct SlabPolicy {
  static constexpr int kHeadDim = D;
  // Streams of work that share nothing but the SM: each has a producer, a ring of stages and items of its own.
  static constexpr int kStreams = 2;
  static constexpr int kConsumers = 2, kRows = 64 * kConsumers;  // warpgroups of a stream, query rows of an item
  static constexpr int kTile = 64, kKeys = 2 * kTile;            // keys of the score buffer, of a stage
  static constexpr int kStages = 3;
  static constexpr int kFoldStages = 4;  // stages that the tensor core's accumulator covers
  static constexpr int kVRows = D + 8;   // as in WgmmaPolicy
  // As in WgmmaTuning. A row's first reference is taken from few keys, and most rows never need another.
  static constexpr float kFirstHeadroom = 5.f, kHeadroom = 3.f;
  // As in WgmmaTuning; a little more than the 3 bits that are asked for in the codes.
  static constexpr float kSink = 3.1f;
  static constexpr bool kSlab = true, kWholeStages = true, kListed = false, kSkips = false, kRandomDelay = false;
  static constexpr bool kLooks = true;
  static constexpr int kLookEvery = 16;

  // setmaxnreg redistributes what the CTA got at launch: a multiple of 8 for each thread.
  static constexpr int kGroups = kStreams * kConsumers, kThreads = 128 * (kGroups + 1);
  static constexpr int kLaunchRegs = 65536 / kThreads / 8 * 8, kProducerRegs = 32;
  static constexpr int kConsumerRegs = (kLaunchRegs * (kGroups + 1) - kProducerRegs) / kGroups / 8 * 8;

  // Of a stream.
  struct alignas(128) Shared {
    unsigned char q[2][kRows * D], k[kStages][kKeys * D], v[kStages][kKeys * kVRows];
    // O, and for each thread the factors and the highest references of its two rows.
    float slab[kConsumers][128 * (kVRows / 2 + 4)];
    float k_scale[kStages][kKeys / 32][4], q_scale[2][kRows], v_scale[2][v_scale_size(D)];
    WgmmaItem item[2];
    int32_t block[kStages][4];
    int32_t suspects[4 * kConsumers][64];
    uint64_t barrier[2 * kStages + 4];
  };
  static constexpr int kStreamBytes = sizeof(Shared), kSmemBytes = kStreams * kStreamBytes;
  using Map = SharedMap<Shared>;
  static constexpr int kSlabAt = offsetof(Shared, slab), kSlabBytes = sizeof(Shared::slab[0]);
  static constexpr int kFirstBytes = Map::kKBytes + Map::kScaleBytes + Map::kVBytes;  // what K's barrier waits for

  static_assert(kSmemBytes <= 227 * 1024);
};

// What each head_dim runs on: the faster one, measured.
template <int D>
using WgmmaBestPolicy = std::conditional_t<D == 64, SlabPolicy<D>, WgmmaPolicy<D>>;

}  // namespace attn4j
