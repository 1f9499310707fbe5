// SageAttention2 on mma.sync: INT8 scores, FP8 (e4m3) P V (arXiv:2411.10958, section 3.3), for 8.9 and 12.x.
//
// Scores are those of mma/int8.cuh. V is an image (quant/values.h), minus its mean where that helps, each channel
// scaled to the largest value that the accumulators can add up; P has a range of its own (mma/fp8_softmax.cuh). Every
// step's P V has an accumulator of its own and is added to O in fp32: in fp32, of which the tensor core keeps few bits,
// or in fp16 (SageAttention2++, arXiv:2505.21136), which GeForce multiplies at twice the rate.
#pragma once

#include "attention/mma/fold.cuh"
#include "attention/mma/fp8_softmax.cuh"
#include "attention/mma/int8.cuh"

namespace attn4j {

template <int kD, DType T, bool kAcc16>
struct Int8Fp8Values : Int8F16Values<kD, T> {
  static constexpr bool kScalesValues = true;
  static constexpr bool kDivides = kAcc16 || kD < 128;  // what ends a part makes ptxas spill
  static constexpr int kKeys = kD <= 64 ? 64 : 32;
  static constexpr int kScratch = 128 * 4;
  using VTile = ByteTile<Int8KeyImage<kD>::kKeys, kD>;
  template <class Tile>
  using Source = ImageValues<Tile>;
  template <class Tile, class Policy>
  using Softmax = MmaFp8Softmax<Tile, Policy>;
  template <class Tile>
  using Output = MmaFoldedOutput<Tile, std::conditional_t<kAcc16, E4m3F16Multiply, E4m3Multiply>>;
  // What a channel's largest value becomes. fp16: kKeys products of it and of 448 stay below 65504.
  static constexpr float kLargestValue = kAcc16 ? 144.f / kKeys : 448.f;
};

// k_image, v_image and v_scale must be there, and k_mean as for MmaInt8F16; q may have any alignment.
template <int kD, DType T, bool kAcc16>
struct MmaInt8Fp8Kernel {
  using Values = Int8Fp8Values<kD, T, kAcc16>;
  using Policy = Int8MmaPolicy<kD, T, Values>;
  static_assert(Policy::template Softmax<Policy>::kScratchBytes == Values::kScratch);
  static cudaError_t launch(const AttentionArgs& args, cudaStream_t stream) {
    return launch_attend_mma<Policy>(args, stream);
  }
  static KernelEntry entry(const char* name) {
    KernelEntry e = make_entry<kD, T>(name, Policy::Tile::kRows, Policy::Tile::kStageKeys, &launch);
    e.qk = Precision::kInt8, e.pv = Precision::kFp8;
    e.function = Function::kInt8Fp8;
    e.accumulator = kAcc16 ? PvAccumDType::kFp32Fp16 : PvAccumDType::kFp32Fp32;
    e.serves_default = !kAcc16;
    e.largest_value = Values::kLargestValue;
    e.serves_sageattn = true;
    e.preparation = &kInt8Fp8Values;
    e.cost = int8_values_mma_cost<kD>(kAcc16 ? kFp8Acc16MmaGain : kFp8MmaGain, true);
    e.streams = Policy::kMinCtas;
    e.divides_items = Policy::kDivides;
    return e;
  }
};

template <int kD, DType T>
struct MmaInt8Fp8 : MmaInt8Fp8Kernel<kD, T, false> {};
template <int kD, DType T>
struct MmaInt8Fp8Acc16 : MmaInt8Fp8Kernel<kD, T, true> {};

}  // namespace attn4j
