// Sizes of the Hopper kernel: tiles, stages, registers and the shared-memory map, as a function of head_dim.
#pragma once

#include <cstdint>

namespace attn4j {

// What differs between head dims. Every value was measured; docs/hopper.md has the figures.
template <int D>
struct WgmmaTuning {
  static constexpr int kHalfKeys = 64;    // keys of one score buffer: the registers that O and its partial sum leave
  static constexpr int kEarlyPacks = 4;   // packed P registers made before the wait for the multiplies in flight
  static constexpr int kPacksAtOnce = 2;  // packed P registers in the making at once
  // log2 units between a raised row reference's largest probability and the largest e4m3, before rounding up. More
  // makes raises rarer, and takes as much from e4m3's range below the maximum.
  static constexpr float kHeadroom = 2.f;
  // Exponentials are kept between the issue of the multiplies and the wait for them. Worth it where these take long.
  static constexpr bool kHoldExponentials = true;
};

template <>
struct WgmmaTuning<64> {
  static constexpr int kHalfKeys = 96;
  static constexpr int kEarlyPacks = 8;
  static constexpr int kPacksAtOnce = 3;
  static constexpr float kHeadroom = 2.f;
  static constexpr bool kHoldExponentials = false;
};

template <int D>
struct WgmmaPolicy : WgmmaTuning<D> {
  static constexpr int kHeadDim = D;
  static constexpr int kHalf = WgmmaTuning<D>::kHalfKeys, kKeys = 2 * kHalf;  // keys per half and per stage
  static constexpr int kConsumers = 2, kRows = 64 * kConsumers;               // warpgroups, query rows per CTA
  static constexpr int kThreads = 128 * (kConsumers + 1);
  static constexpr int kStages = 4;
  static constexpr int kVRows = D + 8;  // channels of V's image: the last group holds the row of ones
  static constexpr int kConsumerRegs = 232, kProducerRegs = 40;
  static constexpr bool kRandomDelay = false;  // the checks set it: producer and consumers pause at random
  // Keys come in the order of a list of blocks (sparse_wgmma.cuh) instead of all of them.
  static constexpr bool kListed = false;
  // Exponentials of a half are left out where they would add next to nothing (SpargeAttn's pvthreshd).
  static constexpr bool kSkips = false;

  // Shared memory: offsets in bytes.
  static constexpr int kKBytes = kKeys * D, kVBytes = kKeys * kVRows, kScaleBytes = kKeys / 32 * 16;
  static constexpr int kQBytes = kRows * D, kQScaleBytes = kRows * 4, kVScaleBytes = D * 4;
  static constexpr int kQAt = 0, kKAt = kQAt + 2 * kQBytes, kVAt = kKAt + kStages * kKBytes;
  static constexpr int kScaleAt = kVAt + kStages * kVBytes, kQScaleAt = kScaleAt + kStages * kScaleBytes;
  static constexpr int kVScaleAt = kQScaleAt + 2 * kQScaleBytes, kItemAt = kVScaleAt + 2 * kVScaleBytes;
  static constexpr int kBarrierAt = kItemAt + 2 * 32, kSkipBelowAt = 20;  // of WgmmaItem
  static constexpr int kSmemBytes = kBarrierAt + 8 * (4 * kStages + 4);

  static_assert(kHalf % 32 == 0, "a multiply of P V takes 32 keys");
  static_assert(kScaleBytes % 16 == 0 && kKBytes % 128 == 0 && kVBytes % 128 == 0 && kItemAt % 16 == 0);
  static_assert(WgmmaTuning<D>::kEarlyPacks % 4 == 0, "the A operand of one multiply is 4 packed registers");
  static_assert((kConsumerRegs * kConsumers + kProducerRegs) * 128 <= 65536 && kSmemBytes <= 227 * 1024);
};

}  // namespace attn4j
