// SageAttention on mma.sync: INT8 scores, 16-bit P*V with fp32 accumulation (SageAttention, arXiv:2410.02367, section
// 3).
//
// K arrives as an INT8 image with its scales (quant/int8.cuh). Q is quantised here, once per CTA: its 16-bit rows are
// read anyway, and a kernel launch and a round trip through memory are saved. The softmax scale and log2(e) ride on the
// scale of Q. V keeps its 16-bit type: fp16 V as in the paper, and bf16 V with bf16 P, which costs 2^-9 of relative
// error in P and can't overflow where fp16 would.
//
// No score is converted: the integer accumulator starts at the bits of 1.5 * 2^23, and its end, read as a float, is
// 1.5 * 2^23 plus the score, exactly (127 * 127 * 128 < 2^22). The constant cancels in the addend of the exponent.
#pragma once

#include "arch/arch.h"
#include "attention/mma/core.cuh"
#include "attention/mma/values.cuh"
#include "device/ptx/ordering.cuh"
#include "device/ptx/shared_access.cuh"
#include "host/head_dim.h"
#include "host/preparation.h"
#include "host/recipe.h"
#include "quant/int8.cuh"

namespace attn4j {

// What follows the scores: how many keys at a time, P's range, and where V comes from. The default: V and P in T, fp32
// accumulators.
template <int kD, DType T>
struct Int8F16Values {
  // At 64 channels 64 keys at a time are worth the scores' registers, and P V too short to wait behind all
  // exponentials.
  static constexpr int kKeys = kD <= 64 ? 64 : 32;
  static constexpr RangeCheck kCheck = kD <= 64 ? RangeCheck::kScores : RangeCheck::kSums;
  static constexpr MmaRange kRange = kMmaRange;
  static constexpr bool kScalesValues = false;
  static constexpr int kScratch = 0;
  static constexpr bool kFewRegisters = arch::kFewRegisters;
  static constexpr bool kDivides = true;
  using VTile = PanelTile<Int8KeyImage<kD>::kKeys, kD>;
  template <class Tile>
  using Source = RowValues<Tile>;
  template <class Tile, class Policy>
  using Softmax = MmaSoftmax<Tile, T, Policy>;
  template <class Tile>
  using Output = MmaOutput<Tile, T>;
};

template <int kD, DType T, class Values = Int8F16Values<kD, T>>
class Int8MmaPolicy {
 public:
  using Image = Int8KeyImage<kD>;
  static constexpr RangeCheck kCheck = Values::kCheck;
  static constexpr MmaRange kRange = Values::kRange;
  static constexpr bool kScalesValues = Values::kScalesValues;
  static constexpr bool kDivides = Values::kDivides;
  using Tile = MmaTile<kD, 1, 4, 32, Image::kKeys, Values::kKeys, QueryPlace::kRegisters, Image::kTail,
                       typename Values::VTile, Values::kScratch, Values::kFewRegisters>;
  using Scores = MmaScores<Tile>;
  template <class Policy>
  using Softmax = typename Values::template Softmax<Tile, Policy>;
  using Output = typename Values::template Output<Tile>;
  static constexpr DType kType = T;
  static constexpr int kMinCtas = 2;
  static constexpr float kScoreOffset = 12582912.f;
  static constexpr bool kCorrectsLse = true;

  __device__ __forceinline__ Int8MmaPolicy(const AttentionArgs& args, const WorkTile& w, uint32_t ring)
      : args_(args),
        ring_(ring),
        k_lane_(ring + (threadIdx.x >> 4 & 1) * kGroup + (threadIdx.x >> 3 & 1) * 128 + (threadIdx.x & 7) * 16),
        v_(args, w) {
    if constexpr (!arch::kFewRegisters) {
      k_ = args.k_image + static_cast<int64_t>(w.image_tile) * Image::kBytes + 16 * threadIdx.x;
    }
#pragma unroll
    for (int e = 0; e < 4; e++) magic_[e] = 0x4B400000u;
  }

  // Starts the copy of a tile to byte `slot` of the ring; a whole one has all rows and channels. `shared` lies in
  // shared memory.
  __device__ __forceinline__ void load_whole_tile(uint32_t slot, int tile, const WorkTile& shared) const {
    load_keys(slot, tile, shared);
    v_.start_whole(ring_ + slot + Tile::kKBytes, tile, shared);
  }
  __device__ __forceinline__ void load_tile(uint32_t slot, int tile, const WorkTile& shared) const {
    load_keys(slot, tile, shared);
    v_.start(ring_ + slot + Tile::kKBytes, tile, shared);
  }

  // Q rows -> INT8 tile and row scales at `smem`; what the LSE needs goes where it will be.
  __device__ __forceinline__ void load_queries(const WorkTile& w, char* smem) const {
    const auto* q = static_cast<const typename Element<T>::type*>(args_.q) + w.batch * args_.q_stride.batch +
                    w.head * args_.q_stride.head;
    QueryTile tile;
    tile.values = smem + Tile::kQOffset;
    tile.scales = reinterpret_cast<float*>(smem + Tile::kQScaleOffset);
    if (args_.lse != nullptr) {
      tile.products = args_.lse + (static_cast<int64_t>(w.batch) * args_.heads_q + w.head) * args_.lq;
      if (args_.k_mean != nullptr) {
        tile.mean = args_.k_mean + (static_cast<int64_t>(w.batch) * args_.heads_kv + w.kv_head) * args_.head_dim;
      }
    }
    quantize_queries<kD, T, Tile::kRows, Tile::kThreads>(args_, q, w.first_row, tile);
  }

  __device__ __forceinline__ void take_queries() {
    const int row = threadIdx.x / 32 * Tile::kWarpRows;
    const uint32_t q = ring_ - Tile::kRing + Tile::kQOffset, lane = q + row * kD + (threadIdx.x >> 3 & 1) * kGroup +
                                                                    (threadIdx.x >> 4 & 1) * 128 +
                                                                    (threadIdx.x & 7) * 16;
#pragma unroll
    for (int b = 0; b < Tile::kBlocks; b++) {
#pragma unroll
      for (int d = 0; d < Tile::kChunks; d++) ptx::ldmatrix_x4(q_[b][d], lane + 2 * b * kGroup + d * 256);
#pragma unroll
      for (int h = 0; h < 2; h++) {
        if (Tile::kScalesInRegisters) q_scale_[b][h] = shared_scale(b, h);
      }
    }
  }

  // The largest of this lane's scores of a scale group. Integers compare as the scores do.
  static __device__ __forceinline__ float largest(const Scores& x, int g, int b, int h) {
    const auto score = [&](int n, int e) { return static_cast<int32_t>(x.s[b][4 * g + n][2 * h + e]); };
    int32_t top = max(score(0, 0), score(0, 1));
#pragma unroll
    for (int n = 1; n < 4; n++) top = __vimax3_s32(top, score(n, 0), score(n, 1));
    return __int_as_float(top);
  }

  // As bits, of a score that doesn't count: multipliers are positive.
  __device__ __forceinline__ uint32_t masked() const { return 0xff800000u; }

  __device__ __forceinline__ void make_scores(Scores& out, uint32_t slot, int step) const {
    const uint32_t k = k_lane_ + slot + step * Tile::kKeys * kD;
#pragma unroll
    for (int d = 0; d < Tile::kChunks; d++) {
#pragma unroll
      for (int n = 0; n < Tile::kKeys / 8; n += 2) {
        uint32_t f[4];
        ptx::ldmatrix_x4(f, k + n * kGroup + d * 256);
#pragma unroll
        for (int b = 0; b < Tile::kBlocks; b++) {
#pragma unroll
          for (int i = 0; i < 2; i++) {
            uint32_t(&s)[4] = out.s[b][n + i];
            const uint32_t(&start)[4] = s;
            ptx::mma_m16n8k32_s8(s, q_[b][d], f[2 * i], f[2 * i + 1], d == 0 ? magic_ : start);
          }
        }
      }
    }
    const uint32_t k_scale = ring_ + slot + Image::kScaleOffset + step * (Tile::kKeys / 2) + (threadIdx.x % 4) * 4;
#pragma unroll
    for (int g = 0; g < Scores::kGroups; g++) {
      const float scale = ptx::load_shared(k_scale + 16 * g);
#pragma unroll
      for (int b = 0; b < Tile::kBlocks; b++) {
#pragma unroll
        for (int h = 0; h < 2; h++) {
          out.multiplier[g][b][h] = (Tile::kScalesInRegisters ? q_scale_[b][h] : shared_scale(b, h)) * scale;
        }
      }
    }
  }

 private:
  static constexpr int kGroup = kD / 16 * 128;  // bytes of an 8-row group

  __device__ __forceinline__ void load_keys(uint32_t slot, int tile, const WorkTile& shared) const {
    const int8_t* k = k_;
    int thread = threadIdx.x;
    if constexpr (arch::kFewRegisters) {  // none for the pointer: it is made anew
      if constexpr (kScalesValues) thread = ptx::thread_index();
      tile += ptx::again(shared.image_tile);
      k = args_.k_image + 16 * thread;
    }
    k += static_cast<int64_t>(tile) * Image::kBytes;
    const uint32_t target = ring_ + slot + 16 * thread;
    load_image_async<Image::kKeys * kD, Tile::kThreads>(target, k);
    if (thread < Image::kScaleBytes / 16) {
      ptx::cp_async_16(target + Image::kScaleOffset, k + Image::kScaleOffset);
    }
  }

  // Of this lane's row h of block b.
  __device__ __forceinline__ float shared_scale(int b, int h) const {
    const int row = threadIdx.x / 32 * Tile::kWarpRows + threadIdx.x % 32 / 4 + 16 * b + 8 * h;
    return ptx::load_shared(ring_ - Tile::kRing + Tile::kQScaleOffset + row * sizeof(float));
  }

  const AttentionArgs& args_;
  uint32_t ring_, k_lane_;     // the latter: this lane's row for ldmatrix, in slot 0
  const int8_t* k_ = nullptr;  // this thread's first piece of the CTA's first tile, if registers allow
  typename Values::template Source<Tile> v_;
  uint32_t magic_[4];  // what accumulators start at
  uint32_t q_[Tile::kBlocks][Tile::kChunks][4];
  float q_scale_[Tile::kBlocks][2];
};

// k_image and, if K was shifted and an LSE is wanted, k_mean must be there; v as for ExactMma; q may have any
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
    if constexpr (!arch::kHopperKernels) e.cost = int8_mma_cost<kD>();
    e.streams = Policy::kMinCtas;
    e.divides_items = Policy::kDivides;
    return e;
  }
};

}  // namespace attn4j
