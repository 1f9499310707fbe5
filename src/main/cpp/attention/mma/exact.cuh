// Exact attention on mma.sync: 16-bit scores with fp32 accumulation (FlashAttention-2, arXiv:2307.08691).
#pragma once

#include <type_traits>

#include "arch/arch.h"
#include "attention/mma/core.cuh"
#include "attention/mma/exact_packed.cuh"
#include "host/head_dim.h"
#include "host/preparation.h"
#include "host/recipe.h"

namespace attn4j {

template <int kD>
struct ExactMmaTile {
  // 32 rows per warp read each K and V fragment for twice the work of 16; above 128 channels the accumulator of 32 rows
  // no longer fits the registers. Q fits beside it but for 128 channels.
  static constexpr bool kWide = kD > 128;
  static constexpr QueryPlace kPlace =
      kD == 128 || (kD == 96 && arch::kFewRegisters) ? QueryPlace::kShared : QueryPlace::kRegisters;
  template <int kWarps, int kStageKeys>
  using Shape = MmaTile<kD, 2, kWarps, kWide ? 16 : 32, kStageKeys, kD <= 64 ? kStageKeys : 32, kPlace, 0>;
  // Two CTAs per SM, with stages as long as that allows; else one CTA of twice the warps, if Q leaves room for it.
  using Narrow = std::conditional_t<Shape<4, 64>::fits_twice(), Shape<4, 64>,
                                    std::conditional_t<Shape<4, 32>::fits_twice(), Shape<4, 32>, Shape<8, 32>>>;
  using type = std::conditional_t<kWide, Shape<4, 32>, Narrow>;
};

template <int kD, DType T, class Shape = typename ExactMmaTile<kD>::type>
class ExactMmaPolicy {
 public:
  using Tile = Shape;
  using Scores = MmaScores<Tile>;
  using QTile = PanelTile<Tile::kRows, kD>;
  using KTile = typename Tile::VTile;
  template <class Policy>
  using Softmax = MmaSoftmax<Tile, T, Policy>;
  using Output = MmaOutput<Tile, T>;
  static constexpr DType kType = T;
  // 64 keys at a time leave no registers to keep the scores longer.
  static constexpr RangeCheck kCheck = kD <= 64 ? RangeCheck::kScores : RangeCheck::kSums;
  static constexpr int kMinCtas = Tile::fits_twice() ? 2 : 1;
  static constexpr MmaRange kRange = kMmaRange;
  static constexpr float kScoreOffset = 0.f;
  static constexpr bool kCorrectsLse = false, kScalesValues = false;
  static constexpr bool kDivides = !(kD == 256 && arch::kFewRegisters);  // what ends a part makes ptxas spill

  __device__ __forceinline__ ExactMmaPolicy(const AttentionArgs& args, const WorkTile& w, uint32_t ring)
      : args_(args),
        ring_(ring),
        q_lane_(ring - Tile::kRing + Tile::kQOffset, threadIdx.x / 32 * Tile::kWarpRows + (threadIdx.x & 15),
                threadIdx.x >> 4 & 1),
        k_lane_(ring, (threadIdx.x & 7) + (threadIdx.x >> 4 & 1) * 8, threadIdx.x >> 3 & 1),
        k_(head(w, args.k, args.k_stride), args.k_stride.row, threadIdx.x),
        v_(head(w, args.v, args.v_stride), args.v_stride.row, threadIdx.x) {}

  // Starts the copy of a tile to byte `slot` of the ring; a whole one has all rows and channels. `shared` lies in
  // shared memory.
  __device__ __forceinline__ void load_whole_tile(uint32_t slot, int tile, const WorkTile&) const {
    k_.start_whole(ring_ + slot, args_.k_stride.row, tile * Tile::kStageKeys, threadIdx.x);
    v_.start_whole(ring_ + slot + Tile::kKBytes, args_.v_stride.row, tile * Tile::kStageKeys, threadIdx.x);
  }
  __device__ __forceinline__ void load_tile(uint32_t slot, int tile, const WorkTile& shared) const {
    const int kv_length = ptx::again(shared.kv_length);
    k_.start(ring_ + slot, args_.k_stride.row, tile * Tile::kStageKeys, kv_length, args_.head_dim, threadIdx.x);
    v_.start(ring_ + slot + Tile::kKBytes, args_.v_stride.row, tile * Tile::kStageKeys, kv_length, args_.head_dim,
             threadIdx.x);
  }

  __device__ __forceinline__ void load_queries(const WorkTile& w, char* smem) const {
    const uint16_t* q =
        static_cast<const uint16_t*>(args_.q) + w.batch * args_.q_stride.batch + w.head * args_.q_stride.head;
    const PanelCopy<QTile, Tile::kThreads> copy(q, args_.q_stride.row, threadIdx.x);
    copy.start(ptx::smem_address(smem) + Tile::kQOffset, args_.q_stride.row, w.first_row, args_.lq, args_.head_dim,
               threadIdx.x);
  }
  __device__ __forceinline__ void take_queries() {
    if constexpr (Tile::kPlace == QueryPlace::kRegisters) {
#pragma unroll
      for (int d = 0; d < Tile::kChunks; d++) {
#pragma unroll
        for (int b = 0; b < Tile::kBlocks; b++) {
          ptx::ldmatrix_x4(q_[b][d], q_lane_.at(16 * b, 2 * d));
          if (args_.q_sign < 0.f) {
#pragma unroll
            for (int e = 0; e < 4; e++) q_[b][d][e] = Element<T>::neg2(q_[b][d][e]);
          }
        }
      }
    }
  }

  // The largest of this lane's scores of a scale group, if scores have the sign of what they stand for.
  static __device__ __forceinline__ float largest(const Scores& x, int g, int b, int h) {
    float top = -kInfinity;
#pragma unroll
    for (int n = 4 * g; n < 4 * g + 4; n++) {
      top = fmaxf(top, fmaxf(__uint_as_float(x.s[b][n][2 * h]), __uint_as_float(x.s[b][n][2 * h + 1])));
    }
    return top;
  }

  // As bits, of a score that doesn't count: -inf once it is multiplied.
  __device__ __forceinline__ uint32_t masked() const {
    return kSignOnQ || args_.q_sign > 0.f ? 0xff800000u : 0x7f800000u;
  }

  __device__ __forceinline__ void make_scores(Scores& out, uint32_t slot, int step) const {
    const PanelLane<KTile> k = k_lane_.moved(slot, step * Tile::kKeys);
#pragma unroll
    for (int d = 0; d < Tile::kChunks; d++) {
      uint32_t a[Tile::kBlocks][4];
#pragma unroll
      for (int b = 0; b < Tile::kBlocks; b++) {
        if constexpr (Tile::kPlace == QueryPlace::kRegisters) {
#pragma unroll
          for (int e = 0; e < 4; e++) a[b][e] = q_[b][d][e];
        } else {
          ptx::ldmatrix_x4(a[b], q_lane_.at(16 * b, 2 * d));
        }
      }
#pragma unroll
      for (int n = 0; n < Tile::kKeys / 8; n += 2) {
        uint32_t f[4];
        ptx::ldmatrix_x4(f, k.at(8 * n, 2 * d));
#pragma unroll
        for (int b = 0; b < Tile::kBlocks; b++) {
          if (d == 0) {
            Element<T>::mma_first(out.s[b][n], a[b], f[0], f[1]);
            Element<T>::mma_first(out.s[b][n + 1], a[b], f[2], f[3]);
          } else {
            Element<T>::mma(out.s[b][n], a[b], f[0], f[1]);
            Element<T>::mma(out.s[b][n + 1], a[b], f[2], f[3]);
          }
        }
      }
    }
    // Not 0: masked scores times the scale are -inf, not NaN.
    const float scale = fmaxf(args_.scale_log2, 1e-30f) * (kSignOnQ ? 1.f : args_.q_sign);
#pragma unroll
    for (int g = 0; g < Scores::kGroups; g++) {
#pragma unroll
      for (int b = 0; b < Tile::kBlocks; b++) out.multiplier[g][b][0] = out.multiplier[g][b][1] = scale;
    }
  }

 private:
  // Where the sign of the softmax scale goes: into Q in registers, or else into the multiplier.
  static constexpr bool kSignOnQ = Tile::kPlace == QueryPlace::kRegisters;
  static_assert(kSignOnQ || kCheck == RangeCheck::kSums);

  // The CTA's first key in its head.
  static __device__ __forceinline__ const uint16_t* head(const WorkTile& w, const void* data, const Strides& stride) {
    return static_cast<const uint16_t*>(data) + w.batch * stride.batch + w.kv_head * stride.head +
           w.first_tile * Tile::kStageKeys * stride.row;
  }

  const AttentionArgs& args_;
  uint32_t ring_;
  PanelLane<QTile> q_lane_;
  PanelLane<KTile> k_lane_;  // in slot 0
  PanelCopy<KTile, Tile::kThreads> k_, v_;
  uint32_t q_[Tile::kPlace == QueryPlace::kRegisters ? Tile::kBlocks : 1]
             [Tile::kPlace == QueryPlace::kRegisters ? Tile::kChunks : 1][4];
};

// q, k and v must be 16-byte aligned in base and strides, with a head_dim of a multiple of 8 or zeros up to the next
// one.
template <int kD, DType T>
struct ExactMma {
  using Policy = ExactMmaPolicy<kD, T>;
  static constexpr bool kTakesPacked = kD <= 192;  // 256 would spill
  static cudaError_t launch(const AttentionArgs& args, cudaStream_t stream) {
    if constexpr (kTakesPacked) {
      if (args.packed.q != nullptr) return launch_attend_packed<Policy>(args, stream);
    }
    return launch_attend_mma<Policy>(args, stream);
  }
  static KernelEntry entry(const char* name) {
    KernelEntry e = make_entry<kD, T>(name, Policy::Tile::kRows, Policy::Tile::kStageKeys, &launch);
    e.function = Function::kExact;
    e.takes_packed = kTakesPacked;
    e.preparation = &kAlignedInputs;
    e.serves_sageattn = kD <= 128;
    if constexpr (!arch::kHopperKernels) e.cost = exact_mma_cost<kD>();
    e.streams = Policy::kMinCtas;
    e.divides_items = Policy::kDivides;
    return e;
  }
};

}  // namespace attn4j
