// SageAttention on mma.sync: INT8 scores, 16-bit P*V with fp32 accumulation (SageAttention, arXiv:2410.02367, section
// 3).
//
// K arrives as an INT8 image with its scales (quant/int8_image.cu). Q is quantised here, once per CTA: its 16-bit rows
// are read anyway, and a kernel launch and a round trip through memory are saved. The softmax scale and log2(e) ride on
// the scale of Q, so a score costs one conversion and one multiply-add. V keeps its 16-bit type: fp16 V as in the
// paper, and bf16 V with bf16 P, which costs 2^-9 of relative error in P and can't overflow where fp16 would.
#pragma once

#include "attention/mma_core.cuh"
#include "host/preparation.h"
#include "host/recipe.h"
#include "quant/int8.cuh"

namespace attn4j {

template <int kD, DType T>
class Int8MmaPolicy {
 public:
  // 32 rows of 128 channels leave registers for 32 keys at a time.
  static constexpr int kKeys = kD > 96 ? 32 : 64;
  using Image = Int8KeyImage<kD>;
  using Tile = MmaTile<kD, 128, Image::kKeys, kKeys, 4, kD * 128, Image::kBytes>;
  static constexpr DType kType = T;
  static constexpr int kMinCtas = 1;
  static constexpr int kScaleGroups = kKeys / 32;

  struct Scores {
    int32_t s[Tile::kBlocks][kKeys / 8][4];  // fp32 bits after scale_and_mask
    float q_scale[Tile::kBlocks][2], k_scale[kScaleGroups];

    __device__ __forceinline__ void scale_and_mask(int b, int h, int end) {
#pragma unroll
      for (int n = 0; n < kKeys / 8; n++) {
#pragma unroll
        for (int e = 0; e < 2; e++) {
          const float x = int_to_float(s[b][n][2 * h + e]) * (q_scale[b][h] * k_scale[n / 4]);
          s[b][n][2 * h + e] = __float_as_int(8 * n + e < end ? x : -kInfinity);
        }
      }
    }
    __device__ __forceinline__ float scaled(int b, int n, int e) const { return __int_as_float(s[b][n][e]); }
    __device__ __forceinline__ float relative(int b, int n, int e, float m) const {
      return fmaf(int_to_float(s[b][n][e]), q_scale[b][e / 2] * k_scale[n / 4], -m);
    }
    __device__ __forceinline__ float scaled_max(int b, int h) const {
      float x = -kInfinity;
#pragma unroll
      for (int n = 0; n < kKeys / 8; n++) x = fmaxf(x, fmaxf(scaled(b, n, 2 * h), scaled(b, n, 2 * h + 1)));
      return x;
    }
    // Integers compare as the scores do inside a scale group: one conversion per group.
    __device__ __forceinline__ float raw_max(int b, int h) const {
      float y = -kInfinity;
#pragma unroll
      for (int g = 0; g < kScaleGroups; g++) {
        int32_t x = max(s[b][4 * g][2 * h], s[b][4 * g][2 * h + 1]);
#pragma unroll
        for (int n = 4 * g + 1; n < 4 * g + 4; n++) x = __vimax3_s32(x, s[b][n][2 * h], s[b][n][2 * h + 1]);
        y = fmaxf(y, int_to_float(x) * (q_scale[b][h] * k_scale[g]));
      }
      return y;
    }
  };

  __device__ __forceinline__ Int8MmaPolicy(const AttentionArgs& args, const WorkTile& w, uint32_t q_smem,
                                           float* row_data)
      : args_(args), w_(w), q_smem_(q_smem), row_data_(row_data) {
    v_ = static_cast<const uint16_t*>(args.v) + w.batch * args.v_stride.batch + w.kv_head * args.v_stride.head;
  }

  __device__ __forceinline__ void load_queries_async() const {}
  __device__ __forceinline__ void load_tile(uint32_t stage, int first_key) const {
    // The address is made anew for each tile: two registers less live in the loop, which is short of them.
    const int64_t kv = static_cast<int64_t>(w_.batch) * args_.heads_kv + w_.kv_head;
    const int8_t* k = args_.k_image + Image::offset(kv * args_.lk_padded + first_key);
    load_image_async<Image::kBytes, Tile::kThreads>(stage, k, threadIdx.x);
    load_panels_async<typename Tile::VTile, Tile::kThreads>(stage + Image::kBytes, v_, args_.v_stride.row, first_key,
                                                            w_.kv_length, args_.head_dim, threadIdx.x);
  }

  // Q rows -> INT8 tile and row scales in shared memory.
  __device__ __forceinline__ void prepare_queries(char* smem, int, int) const {
    const auto* q = static_cast<const typename Element<T>::type*>(args_.q) + w_.batch * args_.q_stride.batch +
                    w_.head * args_.q_stride.head;
    const float* mean =
        args_.lse == nullptr || args_.k_mean == nullptr
            ? nullptr
            : args_.k_mean + (static_cast<int64_t>(w_.batch) * args_.heads_kv + w_.kv_head) * args_.head_dim;
    quantize_queries<kD, T, Tile::kRows, Tile::kThreads>(args_, q, mean, w_.first_row, smem, row_data_);
    __syncthreads();
  }
  __device__ __forceinline__ const float* lse_correction() const { return row_data_ + Tile::kRows; }

  __device__ __forceinline__ void make_scores(Scores& out, uint32_t stage, int step, int lane) const {
    constexpr int kGroup = kD / 16 * 128;  // bytes of an 8-row group
    const int row = threadIdx.x / 32 * Tile::kWarpRows;
    const uint32_t q = q_smem_ + row * kD + ((lane >> 3) & 1) * kGroup + (lane >> 4) * 128 + (lane & 7) * 16;
    const uint32_t k = stage + step * kKeys * kD + (lane >> 4) * kGroup + ((lane >> 3) & 1) * 128 + (lane & 7) * 16;
#pragma unroll
    for (int d = 0; d < kD / 32; d++) {
      uint32_t a[Tile::kBlocks][4];
#pragma unroll
      for (int b = 0; b < Tile::kBlocks; b++) ptx::ldmatrix_x4(a[b], q + 2 * b * kGroup + d * 256);
#pragma unroll
      for (int n = 0; n < kKeys / 8; n += 2) {
        uint32_t f[4];
        ptx::ldmatrix_x4(f, k + n * kGroup + d * 256);
#pragma unroll
        for (int b = 0; b < Tile::kBlocks; b++) {
          if (d == 0) {
            ptx::mma_m16n8k32_s8_first(out.s[b][n], a[b], f[0], f[1]);
            ptx::mma_m16n8k32_s8_first(out.s[b][n + 1], a[b], f[2], f[3]);
          } else {
            ptx::mma_m16n8k32_s8(out.s[b][n], a[b], f[0], f[1]);
            ptx::mma_m16n8k32_s8(out.s[b][n + 1], a[b], f[2], f[3]);
          }
        }
      }
    }
    const uint32_t q_scale = q_smem_ + Tile::kQBytes + (row + lane / 4) * 4;
    const uint32_t k_scale = stage + Image::kScaleOffset + step * (kKeys / 2) + (lane % 4) * 4;
#pragma unroll
    for (int g = 0; g < kScaleGroups; g++) {
      asm volatile("ld.shared.f32 %0, [%1];" : "=f"(out.k_scale[g]) : "r"(k_scale + 16 * g));
    }
#pragma unroll
    for (int b = 0; b < Tile::kBlocks; b++) {
#pragma unroll
      for (int h = 0; h < 2; h++) {
        asm volatile("ld.shared.f32 %0, [%1];" : "=f"(out.q_scale[b][h]) : "r"(q_scale + 64 * b + 32 * h));
      }
    }
  }

 private:
  const AttentionArgs& args_;
  const WorkTile& w_;
  uint32_t q_smem_;
  float* row_data_;  // [kRows] scales of Q times the softmax scale, [kRows] LSE corrections
  const uint16_t* v_;
};

// k_image, k_scale and, if K was shifted and an LSE is wanted, k_mean must be there; v as for ExactMma; q may have any
// alignment.
template <int kD, DType T>
struct MmaInt8F16 {
  using Policy = Int8MmaPolicy<kD, T>;
  static cudaError_t launch(const AttentionArgs& args, cudaStream_t stream) {
    return launch_attend_mma<Policy>(args, stream);
  }
  static KernelEntry entry(const char* name) {
    KernelEntry e = make_entry<kD, T>(name, Policy::Tile::kRows, Policy::Tile::kStageKeys, &launch);
    e.qk = Precision::kInt8;
    e.function = Function::kInt8F16;
    e.accumulator = PvAccumDType::kFp32;
    e.serves_sageattn = true;
    e.preparation = &kInt8Image;
    return e;
  }
};

}  // namespace attn4j
