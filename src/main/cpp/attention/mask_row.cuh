// The masks of a request as one row of scores reads them.
#pragma once

#include "attention/arguments.h"
#include "device/numeric.cuh"

namespace attn4j {

constexpr float kLog2E = 1.44269504088896f;
// What a finite bias is at least: as far below all real scores, and above the references that stand for "no key yet".
// Models pass the least number of a type for "hidden"; as PyTorch has it, a row of nothing else is the mean of V.
constexpr float kLeastBias = -1e29f;

class MaskRow {
 public:
  static constexpr bool kMasks = true;

  // `flat_head` is batch * heads_q + head.
  __device__ __forceinline__ MaskRow(const AttentionArgs& args, int flat_head, int row)
      : MaskRow(args, flat_head / args.heads_q, flat_head % args.heads_q, row) {}
  __device__ __forceinline__ MaskRow(const AttentionArgs& args, int batch, int head, int row)
      : masks_(args.masks),
        row_(row),
        seen_(at(args.masks.seen, batch, head, row)),
        bias_(at(args.masks.bias, batch, head, row)) {}

  // Adds the bias to a score in log2 units. Whether the row sees the key; if not, the score doesn't matter.
  __device__ __forceinline__ bool add(int key, float* score) const {
    const WindowBounds& w = masks_.window;
    if ((key - row_ < w.first || key - row_ >= w.end) && key >= w.prefix) return false;
    if (masks_.bias.data != nullptr) {
      float bias = read_bias(bias_ + key * masks_.bias.key);
      if (bias == -kInfinity) return false;
      if (bias < kLeastBias) bias = kLeastBias;  // NaN stays
      *score = fmaf(bias, kLog2E, *score);
    }
    return masks_.seen.data == nullptr ||
           static_cast<const uint8_t*>(masks_.seen.data)[seen_ + key * masks_.seen.key] != 0;
  }

 private:
  static __device__ __forceinline__ int64_t at(const MaskTensor& m, int batch, int head, int row) {
    return batch * m.batch + head * m.head + row * m.row;
  }
  __device__ __forceinline__ float read_bias(int64_t element) const {
    const void* const data = masks_.bias.data;
    if (masks_.bias.type == MaskType::kFloat32) return static_cast<const float*>(data)[element];
    const uint16_t bits = static_cast<const uint16_t*>(data)[element];
    return masks_.bias.type == MaskType::kFloat16 ? Element<DType::kFloat16>::to_float(bits)
                                                  : Element<DType::kBFloat16>::to_float(bits);
  }

  const Masks& masks_;
  int row_;
  int64_t seen_, bias_;  // element of key 0
};

}  // namespace attn4j
