// Inputs that are hard for quantised attention: what N(0,1) tensors never show. docs/accuracy.md says what each is for.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "accuracy.cuh"

namespace attn4j_bench {

enum class Hard : int {
  kNormal,      // N(0,1), for comparison
  kTail,        // 200 keys times 4, their values plus 3, the rest N(0,1): few heavy keys, and a long tail
  kSinks,       // 4 keys hold `share` of every row's mass
  kSmallSinks,  // the same, and the sinks' values are 2 % of the others', which have channel offsets
  kDrift,       // keys that drift along a direction from the first to the last
  kConstant,    // one value per channel in V: the output must be that value
  kOneSign,     // V = 1 + N(0,1) / 4
  kOutlier,     // channel offsets in q, k and v, as attn_gpu accuracy has them
  kHugeValue,   // one value of V is 1000
  kHugeKey,     // one row of K times 30
  kSpecialKey,  // N(0,1), and one channel of one row of K is `special`
  kSpecialValue,
  kSpecialQuery,
};

enum class Place : int { kFirst, kMiddle, kLast, kScattered };
inline const char* const kPlaceNames[] = {"first", "middle", "last", "scattered"};

struct HardData {
  Hard kind = Hard::kNormal;
  Place place = Place::kLast;
  float share = 0.f;                   // of the mass, of kSinks
  float special = 0.f;                 // a value that is not finite
  int64_t special_row = 0;             // where it is, in the last head of the last batch entry
  int64_t poisoned_from = INT64_MAX;   // rows of K and V from here on are NaN: behind kv_lengths
  static constexpr int kHeavy = 200;   // keys of kTail
  static constexpr int kSinkKeys = 4;  // neighbours, as the first tokens of a text are
  static constexpr int kSinkChannels = 8;
};

// Whether row `row` of `rows` is one of `count` chosen ones.
__device__ __forceinline__ bool chosen(int64_t row, int64_t rows, int64_t count, Place place) {
  switch (place) {
    case Place::kFirst:
      return row < count;
    case Place::kMiddle:
      return row >= rows / 2 - count / 2 && row < rows / 2 - count / 2 + count;
    case Place::kLast:
      return row >= rows - count;
    default: {
      const int64_t run = rows / count;
      return run == 0 || row % run == static_cast<int64_t>(mix(row / run + 5) % run);
    }
  }
}

// Element (row, c) of tensor `which` (0 q, 1 k, 2 v), z being N(0,1).
__device__ __forceinline__ float hard_value(const HardData& data, int which, int64_t row, int64_t rows, int64_t c,
                                            int64_t d, float z) {
  const float offset = normal(77 + which, c);
  switch (data.kind) {
    case Hard::kTail:
      if (which == 0 || !chosen(row, rows, HardData::kHeavy, data.place)) return z;
      return which == 1 ? 4.f * z : z + 3.f;
    case Hard::kSinks:
    case Hard::kSmallSinks: {
      const bool sink = which > 0 && chosen(row, rows, HardData::kSinkKeys, data.place);
      if (which == 2 && data.kind == Hard::kSinks) return z;
      if (which == 2) return sink ? 0.02f * z : z + 2.f * offset;
      // In the sinks' channels every query is about 2, and other keys nearly 0. Elsewhere all keys are alike: what
      // rounding does to one sink's probability is not what it does to another's.
      if (c >= HardData::kSinkChannels) return which == 0 ? z : 0.25f * z;
      if (which == 0) return 2.f + 0.2f * z;
      // Scores of the others are N(0, 1/16): their sum is n e^(1/32).
      const float score = logf(data.share / (1.f - data.share) / HardData::kSinkKeys * rows) + 1.f / 32.f;
      return sink ? score * sqrtf(static_cast<float>(d)) / (2.f * HardData::kSinkChannels) : 0.02f * z;
    }
    case Hard::kDrift:
      return which == 1 ? z + 3.f * normal(78, c) * (2.f * row / rows - 1.f) : z;
    case Hard::kConstant:
      return which == 2 ? 1.f + fabsf(offset) : z;
    case Hard::kOneSign:
      return which == 2 ? 1.f + 0.25f * z : z;
    case Hard::kOutlier:
      return which == 0 ? 1.5f * z + offset : which == 1 ? z + 6.f * offset : z + 2.f * offset;
    case Hard::kHugeValue:
      return which == 2 && row == rows / 3 && c == 5 ? 1000.f : z;
    case Hard::kHugeKey:
      return which == 1 && row == rows / 3 ? 30.f * z : z;
    default:
      return z;
  }
}

// x is (b, heads, rows, d), HND.
static __global__ void hard_fill(TensorView x, int which, HardData data, uint64_t seed) {
  const int64_t heads = x.size[1], rows = x.size[2], d = x.size[3], total = x.size[0] * heads * rows * d;
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < total; i += int64_t{gridDim.x} * blockDim.x) {
    const int64_t c = i % d, row = i / d % rows;
    float y = hard_value(data, which, row, rows, c, d, normal(seed + which, i));
    const bool here = i / d / rows == x.size[0] * heads - 1 && row == data.special_row && c == 3;
    if (here && static_cast<int>(data.kind) - static_cast<int>(Hard::kSpecialKey) == (which + 2) % 3) y = data.special;
    if (which > 0 && row >= data.poisoned_from) y = NAN;
    static_cast<uint16_t*>(x.data)[element(x, TensorLayout::kHND, i / d / rows / heads, i / d / rows % heads, row, c)] =
        x.dtype == DType::kFloat16 ? __half_as_ushort(__float2half_rn(y))
                                   : __bfloat16_as_ushort(__float2bfloat16_rn(y));
  }
}

}  // namespace attn4j_bench
