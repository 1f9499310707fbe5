// Sizes of the Hopper kernel: tiles, stages, registers and the shared-memory map, as a function of head_dim.
#pragma once

#include <cstdint>
#include <type_traits>

#include "quant/fp8_image.cuh"

namespace attn4j {

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

  // Shared memory: offsets in bytes.
  static constexpr int kKBytes = kKeys * D, kVBytes = kKeys * kVRows, kScaleBytes = kKeys / 32 * 16;
  static constexpr int kFirstBytes = kKBytes + kScaleBytes;  // what K's barrier waits for
  static constexpr int kQBytes = kRows * D, kQScaleBytes = kRows * 4, kVScaleBytes = 4 * v_scale_size(D);
  static constexpr int kQAt = 0, kKAt = kQAt + 2 * kQBytes, kVAt = kKAt + kStages * kKBytes;
  static constexpr int kScaleAt = kVAt + kStages * kVBytes, kQScaleAt = kScaleAt + kStages * kScaleBytes;
  static constexpr int kVScaleAt = kQScaleAt + 2 * kQScaleBytes, kItemAt = kVScaleAt + 2 * kVScaleBytes;
  static constexpr int kNegligibleAt = 20;  // in WgmmaItem
  // First keys of each stage's blocks, where keys are listed.
  static constexpr int kBlockBytes = 16, kBlockAt = kItemAt + 2 * 32, kHighestAt = kBlockAt + kStages * kBlockBytes;
  // Items that a warp has to look at again (WgmmaSuspects).
  static constexpr int kSuspectBytes = 256, kSuspectsAt = kHighestAt + 128 * kConsumers * 8;
  static constexpr int kBarrierAt = kSuspectsAt + 4 * kConsumers * kSuspectBytes;
  static constexpr int kSmemBytes = kBarrierAt + 8 * (4 * kStages + 4), kStreamBytes = kSmemBytes;

  static_assert(kHalf % 32 == 0, "a multiply of P V takes 32 keys");
  static_assert(kScaleBytes % 16 == 0 && kKBytes % 128 == 0 && kVBytes % 128 == 0 && kItemAt % 16 == 0);
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

  // Shared memory of a stream: offsets in bytes. A slab holds a warpgroup's O, and for each thread the
  // factors and the highest references of its two rows.
  static constexpr int kKBytes = kKeys * D, kVBytes = kKeys * kVRows, kScaleBytes = kKeys / 32 * 16;
  static constexpr int kFirstBytes = kKBytes + kScaleBytes + kVBytes;  // what K's barrier waits for
  static constexpr int kQBytes = kRows * D, kQScaleBytes = kRows * 4, kVScaleBytes = 4 * v_scale_size(D);
  static constexpr int kSlabBytes = 128 * (kVRows / 2 * 4 + 16);
  static constexpr int kQAt = 0, kKAt = kQAt + 2 * kQBytes, kVAt = kKAt + kStages * kKBytes;
  static constexpr int kSlabAt = kVAt + kStages * kVBytes, kScaleAt = kSlabAt + kConsumers * kSlabBytes;
  static constexpr int kQScaleAt = kScaleAt + kStages * kScaleBytes, kVScaleAt = kQScaleAt + 2 * kQScaleBytes;
  static constexpr int kItemAt = kVScaleAt + 2 * kVScaleBytes, kNegligibleAt = 20;
  static constexpr int kBlockBytes = 16, kBlockAt = kItemAt + 2 * 32;
  static constexpr int kSuspectBytes = 256, kSuspectsAt = kBlockAt + kStages * kBlockBytes;
  static constexpr int kBarrierAt = kSuspectsAt + 4 * kConsumers * kSuspectBytes;
  static constexpr int kStreamBytes = (kBarrierAt + 8 * (2 * kStages + 4) + 127) / 128 * 128;
  static constexpr int kSmemBytes = kStreams * kStreamBytes;

  static_assert(kKBytes % 128 == 0 && kVBytes % 128 == 0 && kItemAt % 32 == 0);
  static_assert(kSmemBytes <= 227 * 1024);
};

// What each head_dim runs on: the faster one, measured.
template <int D>
using WgmmaBestPolicy = std::conditional_t<D == 64, SlabPolicy<D>, WgmmaPolicy<D>>;

}  // namespace attn4j
