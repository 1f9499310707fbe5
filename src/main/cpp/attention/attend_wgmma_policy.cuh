// Sizes of the Hopper kernel: tiles, stages, registers and the shared-memory map, as a function of head_dim.
#pragma once

#include <cstdint>

namespace attn4j {

struct WgmmaTuning {
  int half_keys = 64;         // keys of one score buffer; two of them are a K/V stage
  int stages = 4;             // K stages and V stages
  int packs_before_wait = 8;  // packed P registers computed before waiting for the multiplies in flight
  int poly_every = 0;         // every n-th packed register is computed on the FMA pipe in fp16; 0: none
  float headroom = 1.f;
  int ablate = 0;
  bool random_delay = false;
  int consumers = 2;
};

template <int D, WgmmaTuning kTuning>
struct WgmmaPolicy {
  static constexpr WgmmaTuning kT = kTuning;
  static constexpr int kHeadDim = D;
  static constexpr int kHalf = kT.half_keys, kKeys = 2 * kHalf;  // keys per half and per stage
  static constexpr int kConsumers = kT.consumers, kRows = 64 * kConsumers;
  static constexpr int kThreads = 128 * (kConsumers + 1);
  static constexpr int kStages = kT.stages;
  static constexpr int kVRows = D + 8;  // channels of V's image: the last group holds the row of ones
  static constexpr int kConsumerRegs = kConsumers == 2 ? 232 : 160, kProducerRegs = kConsumers == 2 ? 40 : 32;

  static constexpr int kKBytes = kKeys * D, kVBytes = kKeys * kVRows, kScaleBytes = kKeys / 32 * 16;
  static constexpr int kQBytes = kRows * D, kQScaleBytes = kRows * 4;
  static constexpr int kQAt = 0, kKAt = kQAt + 2 * kQBytes, kVAt = kKAt + kStages * kKBytes;
  static constexpr int kScaleAt = kVAt + kStages * kVBytes, kQScaleAt = kScaleAt + kStages * kScaleBytes;
  static constexpr int kVScaleAt = kQScaleAt + 2 * kQScaleBytes, kItemAt = kVScaleAt + 2 * 4 * D, kBarrierAt = kItemAt + 16;
  static constexpr int kSmemBytes = kBarrierAt + 8 * (4 * kStages + 4);

  static_assert(kHalf % 32 == 0, "a multiply of P V takes 32 keys");
  static_assert(kScaleBytes % 16 == 0 && kKBytes % 128 == 0 && kVBytes % 128 == 0 && kItemAt % 16 == 0);
  static_assert(kSmemBytes <= 227 * 1024);
};

}  // namespace attn4j
