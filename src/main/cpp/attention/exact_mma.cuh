// Exact attention on mma.sync: 16-bit scores with fp32 accumulation (FlashAttention-2, arXiv:2307.08691).
#pragma once

#include "attention/mma_core.cuh"
#include "host/preparation.h"
#include "host/recipe.h"

namespace attn4j {

template <int kD>
struct ExactMmaTile {
  // 32 rows per warp read each K and V fragment for twice the work of 16; above 128 channels the accumulator of 32 rows
  // no longer fits the registers, and 32 keys keep two stages inside 99 KB.
  static constexpr bool kWide = kD > 128;
  static constexpr int kRows = kWide ? 64 : 128, kStageKeys = kWide ? 32 : 64, kKeys = kD > 96 ? 32 : 64;
  using type = MmaTile<kD, kRows, kStageKeys, kKeys, 4, kRows * kD * 2, kStageKeys * kD * 2>;
};

template <int kD, DType T>
class ExactMmaPolicy {
 public:
  using Tile = typename ExactMmaTile<kD>::type;
  using QTile = PanelTile<Tile::kRows, kD>;
  using KTile = typename Tile::VTile;
  static constexpr DType kType = T;
  static constexpr int kMinCtas = 1;

  struct Scores {
    float s[Tile::kBlocks][Tile::kKeys / 8][4];
    float scale;

    // Keys from `end` on don't count; `end` is relative to this lane's first column.
    __device__ __forceinline__ void scale_and_mask(int b, int h, int end) {
#pragma unroll
      for (int n = 0; n < Tile::kKeys / 8; n++) {
#pragma unroll
        for (int e = 0; e < 2; e++) s[b][n][2 * h + e] = 8 * n + e < end ? s[b][n][2 * h + e] * scale : -kInfinity;
      }
    }
    __device__ __forceinline__ float scaled(int b, int n, int e) const { return s[b][n][e]; }
    __device__ __forceinline__ float relative(int b, int n, int e, float m) const {
      return fmaf(s[b][n][e], scale, -m);
    }
    __device__ __forceinline__ float scaled_max(int b, int h) const {
      float x = s[b][0][2 * h];
#pragma unroll
      for (int n = 0; n < Tile::kKeys / 8; n++) x = fmaxf(x, fmaxf(s[b][n][2 * h], s[b][n][2 * h + 1]));
      return x;
    }
    __device__ __forceinline__ float raw_max(int b, int h) const { return scale * scaled_max(b, h); }
  };

  __device__ __forceinline__ ExactMmaPolicy(const AttentionArgs& args, const WorkTile& w, uint32_t q_smem, float*)
      : args_(args), w_(w), q_smem_(q_smem) {
    k_ = static_cast<const uint16_t*>(args.k) + w.batch * args.k_stride.batch + w.kv_head * args.k_stride.head;
    v_ = static_cast<const uint16_t*>(args.v) + w.batch * args.v_stride.batch + w.kv_head * args.v_stride.head;
  }

  __device__ __forceinline__ void load_queries_async() const {
    const uint16_t* q =
        static_cast<const uint16_t*>(args_.q) + w_.batch * args_.q_stride.batch + w_.head * args_.q_stride.head;
    load_panels_async<QTile, Tile::kThreads>(q_smem_, q, args_.q_stride.row, w_.first_row, args_.lq, args_.head_dim,
                                             threadIdx.x);
  }
  __device__ __forceinline__ void load_tile(uint32_t stage, int first_key) const {
    load_panels_async<KTile, Tile::kThreads>(stage, k_, args_.k_stride.row, first_key, w_.kv_length, args_.head_dim,
                                             threadIdx.x);
    load_panels_async<KTile, Tile::kThreads>(stage + Tile::kKBytes, v_, args_.v_stride.row, first_key, w_.kv_length,
                                             args_.head_dim, threadIdx.x);
  }
  __device__ __forceinline__ void prepare_queries(char*, int, int) const {}
  __device__ __forceinline__ const float* lse_correction() const { return nullptr; }

  __device__ __forceinline__ void make_scores(Scores& out, uint32_t stage, int step, int lane) const {
    const int warp_row = threadIdx.x / 32 * Tile::kWarpRows;
    const PanelLane<QTile> q_lane(lane & 15, lane >> 4);
    const PanelLane<KTile> k_lane((lane & 7) + (lane >> 4) * 8, lane >> 3 & 1);
    out.scale = args_.scale_log2;
#pragma unroll
    for (int b = 0; b < Tile::kBlocks; b++) {
#pragma unroll
      for (int n = 0; n < Tile::kKeys / 8; n++) {
#pragma unroll
        for (int e = 0; e < 4; e++) out.s[b][n][e] = 0.f;
      }
    }
#pragma unroll
    for (int d = 0; d < kD / 16; d++) {
      uint32_t a[Tile::kBlocks][4];
#pragma unroll
      for (int b = 0; b < Tile::kBlocks; b++) {
        ptx::ldmatrix_x4(a[b], q_lane.at(q_smem_, warp_row + 16 * b, 2 * d));
      }
#pragma unroll
      for (int n = 0; n < Tile::kKeys / 8; n += 2) {
        uint32_t f[4];
        ptx::ldmatrix_x4(f, k_lane.at(stage, step * Tile::kKeys + 8 * n, 2 * d));
#pragma unroll
        for (int b = 0; b < Tile::kBlocks; b++) {
          Element<T>::mma(out.s[b][n], a[b], f[0], f[1]);
          Element<T>::mma(out.s[b][n + 1], a[b], f[2], f[3]);
        }
      }
    }
    if (args_.q_sign < 0.f) {  // a negative softmax scale: maxima are taken of positively scaled scores
#pragma unroll
      for (int b = 0; b < Tile::kBlocks; b++) {
#pragma unroll
        for (int n = 0; n < Tile::kKeys / 8; n++) {
#pragma unroll
          for (int e = 0; e < 4; e++) out.s[b][n][e] = -out.s[b][n][e];
        }
      }
    }
  }

 private:
  const AttentionArgs& args_;
  const WorkTile& w_;
  uint32_t q_smem_;
  const uint16_t* k_;
  const uint16_t* v_;
};

// q, k and v must be 16-byte aligned in base and strides, with a head_dim of a multiple of 8 or zeros up to the next
// one.
template <int kD, DType T>
struct ExactMma {
  using Policy = ExactMmaPolicy<kD, T>;
  static cudaError_t launch(const AttentionArgs& args, cudaStream_t stream) {
    return launch_attend_mma<Policy>(args, stream);
  }
  static KernelEntry entry(const char* name) {
    KernelEntry e = make_entry<kD, T>(name, Policy::Tile::kRows, Policy::Tile::kStageKeys, &launch);
    e.function = Function::kExact;
    e.preparation = &kAlignedInputs;
    return e;
  }
};

}  // namespace attn4j
