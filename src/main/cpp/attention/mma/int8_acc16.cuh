// SageAttention on mma.sync with fp16 accumulators of P V (SageAttention, arXiv:2410.02367, section 3.3), which GeForce
// multiplies at twice the rate: each step's sum is added to O in fp32.
//
// A sum never overflows, whatever V is: the probabilities of a lane's 8 keys add up to less than largest_sum, so those
// of a step's 32 keys to less than four times that, and no value is larger than what the range was made for. fp16
// values are taken as they are, up to 65504; P then has 19 bits below a row's maximum, and loses 4 more at most where
// the maximum has risen and its reference has not. bf16 values become fp16 with a power of two for each channel
// (quant/values.h), and P keeps the range that fp32 accumulators have.
#pragma once

#include "attention/mma/fold.cuh"
#include "attention/mma/int8.cuh"

namespace attn4j {

// A lane's 8 keys of a step, once those that let the reference stay behind have moved it:
// 8 * 2^(offset + headroom) <= largest_sum.
template <DType T>
struct Acc16Range {
  static constexpr MmaRange kRange{-6.f, 0.84f, 0.225f};
  static constexpr float kValuesEnd = 65536.f;
};
template <>
struct Acc16Range<DType::kBFloat16> {
  static constexpr MmaRange kRange{6.f, 3.84f, 7372.f};
  static constexpr float kValuesEnd = kF16ValuesEnd;
};

template <int kD, DType T>
struct Int8Acc16Values : Int8F16Values<kD, T> {
  static constexpr bool kScalesValues = T == DType::kBFloat16;        // the image
  static constexpr bool kDivides = kD < 128 && !arch::kFewRegisters;  // what ends a part makes ptxas spill
  static constexpr int kKeys = 32;
  static constexpr bool kFewRegisters = true;  // P V of 16 channels needs some
  static constexpr RangeCheck kCheck = RangeCheck::kSums;
  static constexpr MmaRange kRange = Acc16Range<T>::kRange;
  static_assert(4 * kRange.largest_sum * Acc16Range<T>::kValuesEnd < 65504.f * 0.95f);
  template <class Tile>
  using Source = std::conditional_t<kScalesValues, ImageValues<Tile>, RowValues<Tile>>;
  template <class Tile, class Policy>
  using Softmax = MmaSoftmax<Tile, DType::kFloat16, Policy>;
  template <class Tile>
  using Output = MmaFoldedOutput<Tile, F16Multiply>;
};

// As MmaInt8F16; with bf16 inputs v_image and v_scale must be there instead of an aligned v.
template <int kD, DType T>
struct MmaInt8Acc16 {
  using Policy = Int8MmaPolicy<kD, T, Int8Acc16Values<kD, T>>;
  static cudaError_t launch(const AttentionArgs& args, cudaStream_t stream) {
    return launch_attend_mma<Policy>(args, stream);
  }
  static KernelEntry entry(const char* name) {
    KernelEntry e = make_entry<kD, T>(name, Policy::Tile::kRows, Policy::Tile::kStageKeys, &launch);
    e.qk = Precision::kInt8;
    e.function = Function::kInt8F16;
    e.accumulator = PvAccumDType::kFp16Fp32;
    e.serves_default = false;
    e.serves_sageattn = true;
    e.preparation = T == DType::kBFloat16 ? &kInt8F16Values : &kInt8Image;
    e.cost = int8_values_mma_cost<kD>(kAcc16MmaGain, T == DType::kBFloat16);
    e.streams = Policy::kMinCtas;
    e.divides_items = Policy::kDivides;
    return e;
  }
};

}  // namespace attn4j
