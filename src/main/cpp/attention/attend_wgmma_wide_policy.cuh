// Sizes of the wide Hopper kernel (attend_wgmma_wide.cuh).
#pragma once

#include <cstdint>

namespace attn4j {

// What a variant chooses. Variants derive from this and hide members.
struct WideTuning {
  static constexpr int kHeadDim = 64;
  static constexpr int kConsumers = 4;  // warpgroups of 64 query rows
  static constexpr int kTile = 64;      // keys per score buffer
  static constexpr int kTiles = 2;      // tiles per stage
  static constexpr int kStages = 6;
  static constexpr int kFoldStages = 4;  // stages that the tensor core's accumulator covers
  // P V stays in flight under the next tile's exponentials. Costs a second set of P registers.
  static constexpr bool kOverlap = false;
  // Exponentiates against the old reference and looks for saturated codes, instead of taking the maximum first.
  static constexpr bool kOptimistic = true;
  static constexpr bool kQInRegisters = true;
  static constexpr int kPolyEvery = 0;    // one packed register of so many gets its exponentials from the FMA pipe
  static constexpr int kPacksAtOnce = 0;  // packed registers in the making at once; 0: as the compiler likes
  static constexpr float kHeadroom = 2.f;
  static constexpr bool kRandomDelay = false;
};

template <class C>
struct WidePolicy : C {
  using C::kConsumers, C::kHeadDim, C::kStages, C::kTile, C::kTiles;
  static constexpr int kKeys = kTile * kTiles, kRows = 64 * kConsumers, kThreads = 128 * (kConsumers + 1);
  static constexpr int kVRows = kHeadDim + 8;
  // setmaxnreg redistributes what the CTA got at launch: a multiple of 8 for each thread.
  static constexpr int kLaunchRegs = 65536 / kThreads / 8 * 8;
  static constexpr int kProducerRegs = 32;
  static constexpr int kConsumerRegs = (kLaunchRegs * (kConsumers + 1) - kProducerRegs) / kConsumers / 8 * 8;

  // Shared memory: offsets in bytes. A slab holds a warpgroup's O, and two factors for each thread.
  static constexpr int kKBytes = kKeys * kHeadDim, kVBytes = kKeys * kVRows, kScaleBytes = kKeys / 32 * 16;
  static constexpr int kQBytes = kRows * kHeadDim, kQScaleBytes = kRows * 4, kVScaleBytes = kHeadDim * 4;
  static constexpr int kSlabBytes = 128 * (kVRows / 2 * 4 + 8);
  static constexpr int kQAt = 0, kKAt = kQAt + 2 * kQBytes, kVAt = kKAt + kStages * kKBytes;
  static constexpr int kSlabAt = kVAt + kStages * kVBytes, kScaleAt = kSlabAt + kConsumers * kSlabBytes;
  static constexpr int kQScaleAt = kScaleAt + kStages * kScaleBytes, kVScaleAt = kQScaleAt + 2 * kQScaleBytes;
  static constexpr int kItemAt = kVScaleAt + 2 * kVScaleBytes, kBarrierAt = kItemAt + 2 * 32;
  static constexpr int kSmemBytes = kBarrierAt + 8 * (2 * kStages + 4);

  static_assert(kTile % 32 == 0 && kKBytes % 128 == 0 && kVBytes % 128 == 0 && kItemAt % 32 == 0);
  static_assert(kSmemBytes <= 227 * 1024);
  static_assert(!C::kOverlap || kTiles % 2 == 0, "P's registers alternate");
};

}  // namespace attn4j
