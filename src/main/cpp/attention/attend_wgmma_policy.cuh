// Sizes of the Hopper kernel: tiles, stages, registers and the shared-memory map, as a function of head_dim.
#pragma once

#include <cstdint>

namespace attn4j {

// How an s32 score becomes a float (all exact for |score| < 2^22).
enum class ScoreConvert {
  kI2f,      // cvt.rn.f32.s32: half rate
  kPreset,   // the accumulator starts at the bits of 12582912.0, so the sum is that float plus the score
  kAddMagic  // the same bits are added afterwards
};

struct WgmmaTuning {
  int half_keys = 64;       // keys of one score buffer; two of them are a K/V stage
  int stages = 4;           // K stages and V stages
  int packs_before_wait = 4;  // packed P registers computed before waiting for the multiplies in flight
  ScoreConvert convert = ScoreConvert::kAddMagic;
  int poly_every = 0;       // every n-th packed register is computed on the FMA pipe in fp16; 0: none
  int fold_halves = 2;      // 2: P V is added up per stage, 1: per half
  bool stagger = false;     // chain the groups so that the scheduler can't sort by instruction type
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
  static constexpr int kItemAt = kQScaleAt + 2 * kQScaleBytes, kBarrierAt = kItemAt + 16;
  static constexpr int kSmemBytes = kBarrierAt + 8 * (4 * kStages + 4);

  static_assert(kHalf % 32 == 0, "a multiply of P V takes 32 keys");
  static_assert(kScaleBytes % 16 == 0 && kKBytes % 128 == 0 && kVBytes % 128 == 0 && kItemAt % 16 == 0);
  static_assert(kSmemBytes <= 227 * 1024);
};

}  // namespace attn4j
