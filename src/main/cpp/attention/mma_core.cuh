// Flash attention on mma.sync, for every architecture from sm_80 up: the loop, the softmax and the epilogue that the
// INT8 kernel (attend_mma.cuh) and the exact kernel (exact_mma.cuh) share. They differ in a policy: how scores are
// made. Dense and block-sparse attention (sparse_mma.cuh) differ in a walk: which tiles of keys a CTA visits.
//
// A CTA owns kRows queries of one head, a warp owns kWarpRows of them, and all walk over the keys in tiles of kKeys. K
// and V tiles arrive by cp.async in a ring of kStages; one __syncthreads per tile both publishes tile j and frees the
// slot of tile j - 1. Scores, probabilities and the output accumulator stay in registers.
//
// Softmax (FlashAttention-2, arXiv:2307.08691, section 3.1) with two changes. The reference m of a row is kept until
// the running maximum exceeds it by kHeadroom: results are the same, since any reference cancels, and the rescaling of
// the accumulator becomes a rarely taken branch. The row sum is one more column of P*V against a constant vector of
// ones: the sum of the probabilities as rounded, without one fp32 addition per score.
#pragma once

#include "arch/arch.h"
#include "attention/arguments.h"
#include "attention/launch.cuh"
#include "device/numeric.cuh"
#include "device/ptx/cp_async.cuh"
#include "device/ptx/ldmatrix.cuh"
#include "device/tile.cuh"

namespace attn4j {

// In log2 units: probabilities reach 2^8, far inside the range of fp16, and lose no relative precision.
constexpr float kHeadroom = 8.f;

// Tile sizes and thread counts. kQBytes_ and kKBytes_ are the sizes of a Q and a K tile in shared memory.
// Tiles of kStageKeys keys are loaded at once and worked off in steps of kKeys: what the registers hold.
template <int kD_, int kRows_, int kStageKeys_, int kKeys_, int kWarps_, int kQBytes_, int kKBytes_>
struct MmaTile {
  static constexpr int kD = kD_, kRows = kRows_, kStageKeys = kStageKeys_, kKeys = kKeys_, kWarps = kWarps_;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kWarpRows = kRows / kWarps;
  static constexpr int kBlocks = kWarpRows / 16;  // 16-row blocks of a warp
  static constexpr int kQBytes = kQBytes_;
  static constexpr int kKBytes = kKBytes_;
  using VTile = PanelTile<kStageKeys, kD>;
  static constexpr int kVBytes = VTile::kBytes;
  static constexpr int kStageBytes = kKBytes + kVBytes;
  static constexpr int kRowBytes = 8 * kRows;  // two floats per row: INT8 scale and LSE correction

  static constexpr int smem_bytes(int stages) { return kQBytes + kRowBytes + stages * kStageBytes; }
  static constexpr bool fits_twice(int stages) { return 2 * (smem_bytes(stages) + 1024) <= arch::smem_per_sm(); }
  // Two CTAs per SM hide each other's latencies; more stages matter less.
  static constexpr int kStages = fits_twice(3) ? 3 : fits_twice(2) || smem_bytes(3) > arch::smem_per_cta() ? 2 : 3;
  static constexpr int kSmemBytes = smem_bytes(kStages);
  static constexpr int kOutputBytes = kRows * kD * 2;
  static_assert(kSmemBytes <= arch::smem_per_cta());
  static_assert(kOutputBytes <= kSmemBytes, "the output tile is staged in the memory of Q, K and V");
};

// Where a CTA works.
struct WorkTile {
  int batch, head, kv_head, first_row;
  int kv_length;   // keys of this batch entry
  int tiles;       // key tiles that any row of the CTA sees
  int full_tiles;  // leading tiles that every row sees whole
};

// The walk of dense attention: every tile of keys that a row of the CTA sees, in order.
class AllTiles {
 public:
  // The query tile that CTA `index` of a head works on. With a causal mask the longest rows of a head start first.
  static __device__ __forceinline__ int query_tile(const AttentionArgs&, int, int index, int query_tiles) {
    return query_tiles - 1 - index;
  }
  __device__ __forceinline__ AllTiles(const AttentionArgs&, const WorkTile& w)
      : count_(w.tiles), full_count_(w.full_tiles) {}
  __device__ __forceinline__ int count() const { return count_; }
  // Leading tiles of the walk that every row sees whole.
  __device__ __forceinline__ int full_count() const { return full_count_; }
  __device__ __forceinline__ int operator[](int j) const { return j; }
  // The same for j = kStages - 1, kStages, ...: the loads ahead of the main loop, each asked for once.
  __device__ __forceinline__ int ahead(int j) const { return j; }
  // Whether a step with these row maxima adds too little to be worth its P V.
  template <int kBlocks>
  __device__ __forceinline__ bool skips(const float (&)[kBlocks][2]) const {
    return false;
  }

 private:
  int count_, full_count_;
};

template <class Tile, class Walk>
__device__ __forceinline__ WorkTile work_tile(const AttentionArgs& args) {
  WorkTile w;
  const int query_tiles = (args.lq + Tile::kRows - 1) / Tile::kRows;
  const int head_index = blockIdx.x / query_tiles;
  w.head = head_index % args.heads_q;
  w.batch = head_index / args.heads_q;
  w.kv_head = w.head / args.group;
  w.first_row =
      Walk::query_tile(args, head_index, static_cast<int>(blockIdx.x % query_tiles), query_tiles) * Tile::kRows;
  w.kv_length = args.kv_lengths != nullptr ? min(max(args.kv_lengths[w.batch], 0), args.lk) : args.lk;
  const int last_row = min(w.first_row + Tile::kRows, args.lq) - 1;
  const int most = max(0, min(w.kv_length, last_row + args.causal_offset + 1));
  const int least = max(0, min(w.kv_length, w.first_row + args.causal_offset + 1));
  w.tiles = (most + Tile::kStageKeys - 1) / Tile::kStageKeys;
  w.full_tiles = least / Tile::kStageKeys;
  return w;
}

// The registers of one warp: output, row sums and references of its 16-row blocks. Index h of a row pair: row lane / 4
// (h = 0) or row lane / 4 + 8 (h = 1).
template <class Tile>
struct Accumulator {
  float o[Tile::kBlocks][Tile::kD / 8][4];
  float sum[Tile::kBlocks][4];  // column of ones: [0] and [2] are the sums of the two rows, in every lane
  float m[Tile::kBlocks][2];

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int b = 0; b < Tile::kBlocks; b++) {
#pragma unroll
      for (int i = 0; i < Tile::kD / 8; i++) {
#pragma unroll
        for (int e = 0; e < 4; e++) o[b][i][e] = 0.f;
      }
#pragma unroll
      for (int e = 0; e < 4; e++) sum[b][e] = 0.f;
      m[b][0] = m[b][1] = -kInfinity;
    }
  }

  // Moves the references to cover `tile_max` where a row needs it.
  __device__ __forceinline__ void raise(const float (&tile_max)[Tile::kBlocks][2]) {
    bool need = false;
#pragma unroll
    for (int b = 0; b < Tile::kBlocks; b++) {
      need |= tile_max[b][0] > m[b][0] + kHeadroom || tile_max[b][1] > m[b][1] + kHeadroom;
    }
    if (!__any_sync(kFullWarp, need)) return;
#pragma unroll
    for (int b = 0; b < Tile::kBlocks; b++) {
#pragma unroll
      for (int h = 0; h < 2; h++) {
        const bool up = tile_max[b][h] > m[b][h] + kHeadroom;
        const float alpha = up ? ptx::ex2_approx_ftz(m[b][h] - tile_max[b][h]) : 1.f;
        if (up) m[b][h] = tile_max[b][h];
#pragma unroll
        for (int i = 0; i < Tile::kD / 8; i++) {
          o[b][i][2 * h] *= alpha;
          o[b][i][2 * h + 1] *= alpha;
        }
        sum[b][2 * h] *= alpha;
      }
    }
  }
};

__device__ __forceinline__ float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(kFullWarp, x, 1));
  return fmaxf(x, __shfl_xor_sync(kFullWarp, x, 2));
}

// O += P V for the kKeys keys from `first_key` of a tile on. p holds the probabilities as A fragments of 16 keys.
template <DType T, class Tile>
__device__ __forceinline__ void accumulate_pv(Accumulator<Tile>& acc,
                                              const uint32_t (&p)[Tile::kBlocks][Tile::kKeys / 16][4], uint32_t v_smem,
                                              int first_key, int lane) {
  const PanelLane<typename Tile::VTile> v_lane(lane & 15, lane >> 4);
#pragma unroll
  for (int kb = 0; kb < Tile::kKeys / 16; kb++) {
#pragma unroll
    for (int c = 0; c < Tile::kD / 8; c += 2) {
      uint32_t v[4];
      ptx::ldmatrix_x4_trans(v, v_lane.at(v_smem, first_key + 16 * kb, c));
#pragma unroll
      for (int b = 0; b < Tile::kBlocks; b++) {
        Element<T>::mma(acc.o[b][c], p[b][kb], v[0], v[1]);
        Element<T>::mma(acc.o[b][c + 1], p[b][kb], v[2], v[3]);
      }
    }
#pragma unroll
    for (int b = 0; b < Tile::kBlocks; b++) {
      Element<T>::mma(acc.sum[b], p[b][kb], Element<T>::kOnes, Element<T>::kOnes);
    }
  }
}

// Divides by the row sums and stages the warp's rows in shared memory, in core-matrix order. A row that saw no key is
// 0.
template <DType T, class Tile>
__device__ __forceinline__ void stage_output(const Accumulator<Tile>& acc, char* smem, int warp, int lane) {
#pragma unroll
  for (int b = 0; b < Tile::kBlocks; b++) {
    const float inv0 = acc.sum[b][0] == 0.f ? 0.f : 1.f / acc.sum[b][0];
    const float inv1 = acc.sum[b][2] == 0.f ? 0.f : 1.f / acc.sum[b][2];
    char* rows = smem + (warp * Tile::kWarpRows + b * 16) * Tile::kD * 2 + lane * 4;
#pragma unroll
    for (int i = 0; i < Tile::kD / 8; i++) {
      const float* o = acc.o[b][i];
      *reinterpret_cast<uint32_t*>(rows + i * 128) = Element<T>::pack(o[0] * inv0, o[1] * inv0);
      *reinterpret_cast<uint32_t*>(rows + 8 * Tile::kD * 2 + i * 128) = Element<T>::pack(o[2] * inv1, o[3] * inv1);
    }
  }
}

// lse = ln(sum) + ln(2) * (m + correction): `correction` undoes the shift of K, in log2 units per CTA row.
template <class Tile>
__device__ __forceinline__ void store_lse(const Accumulator<Tile>& acc, const AttentionArgs& args, const WorkTile& w,
                                          const float* correction, int warp, int lane) {
  if (args.lse == nullptr || lane % 4 != 0) return;
  float* lse = args.lse + (static_cast<int64_t>(w.batch) * args.heads_q + w.head) * args.lq;
#pragma unroll
  for (int b = 0; b < Tile::kBlocks; b++) {
#pragma unroll
    for (int h = 0; h < 2; h++) {
      const int r = warp * Tile::kWarpRows + b * 16 + lane / 4 + 8 * h;
      const float sum = acc.sum[b][2 * h];
      const float shift = correction != nullptr ? correction[r] : 0.f;
      if (w.first_row + r < args.lq) {
        lse[w.first_row + r] = sum == 0.f ? -kInfinity : kLn2 * (acc.m[b][h] + __log2f(sum) + shift);
      }
    }
  }
}

// One step of kKeys keys, `step` of the stage: scores from the policy, mask, softmax, P V.
template <bool kMasked, class Policy, class Walk, class Tile>
__device__ __forceinline__ void attend_step(const Policy& policy, Walk& walk, Accumulator<Tile>& acc, uint32_t stage,
                                            int step, int first_key, const AttentionArgs& args, const WorkTile& w,
                                            int lane) {
  typename Policy::Scores s;
  policy.make_scores(s, stage, step, lane);
  float tile_max[Tile::kBlocks][2];
#pragma unroll
  for (int b = 0; b < Tile::kBlocks; b++) {
#pragma unroll
    for (int h = 0; h < 2; h++) {
      if constexpr (kMasked) {
        const int row = w.first_row + threadIdx.x / 32 * Tile::kWarpRows + b * 16 + lane / 4 + 8 * h;
        const int limit = min(w.kv_length, row + args.causal_offset + 1);  // keys that the row sees
        s.scale_and_mask(b, h, limit - first_key - 2 * (lane % 4));
      }
      tile_max[b][h] = quad_max(kMasked ? s.scaled_max(b, h) : s.raw_max(b, h));
    }
  }
  if (walk.skips(tile_max)) return;
  acc.raise(tile_max);
  uint32_t p[Tile::kBlocks][Tile::kKeys / 16][4];
#pragma unroll
  for (int b = 0; b < Tile::kBlocks; b++) {
#pragma unroll
    for (int h = 0; h < 2; h++) {
      const float m = acc.m[b][h] == -kInfinity ? 0.f : acc.m[b][h];  // no key so far: 2^(-inf - 0) = 0
#pragma unroll
      for (int n = 0; n < Tile::kKeys / 8; n++) {
        const float x = kMasked ? s.scaled(b, n, 2 * h) - m : s.relative(b, n, 2 * h, m);
        const float y = kMasked ? s.scaled(b, n, 2 * h + 1) - m : s.relative(b, n, 2 * h + 1, m);
        p[b][n / 2][2 * (n % 2) + h] = Element<Policy::kType>::pack(ptx::ex2_approx_ftz(x), ptx::ex2_approx_ftz(y));
      }
    }
  }
  accumulate_pv<Policy::kType>(acc, p, stage + Tile::kKBytes, step * Tile::kKeys, lane);
}

template <class Policy, class Walk>
__global__ void __launch_bounds__(Policy::Tile::kThreads, Policy::kMinCtas)
    attend_mma_kernel(const __grid_constant__ AttentionArgs args) {
  using Tile = typename Policy::Tile;
  extern __shared__ __align__(1024) char smem[];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const WorkTile w = work_tile<Tile, Walk>(args);
  const uint32_t base = ptx::smem_address(smem);
  float* row_data = reinterpret_cast<float*>(smem + Tile::kQBytes);
  const uint32_t stages = base + Tile::kQBytes + Tile::kRowBytes;

  Policy policy(args, w, base, row_data);
  Walk walk(args, w);
  policy.load_queries_async();
#pragma unroll
  for (int j = 0; j < Tile::kStages - 1; j++) {
    if (j < walk.count()) policy.load_tile(stages + j * Tile::kStageBytes, walk[j] * Tile::kStageKeys);
    ptx::cp_async_commit();
  }
  policy.prepare_queries(smem, warp, lane);

  Accumulator<Tile> acc;
  acc.clear();
  int slot = 0;  // ring position of tile j
#pragma unroll 1
  for (int j = 0; j < walk.count(); j++) {
    ptx::cp_async_wait<Tile::kStages - 2>();
    __syncthreads();
    if (j + Tile::kStages - 1 < walk.count()) {
      const int free = slot == 0 ? Tile::kStages - 1 : slot - 1;  // tile j - 1 was there
      policy.load_tile(stages + free * Tile::kStageBytes, walk.ahead(j + Tile::kStages - 1) * Tile::kStageKeys);
    }
    ptx::cp_async_commit();
    const uint32_t stage = stages + slot * Tile::kStageBytes;
    constexpr int kSteps = Tile::kStageKeys / Tile::kKeys;
    if (j < walk.full_count()) {
#pragma unroll 1
      for (int i = 0; i < kSteps; i++) attend_step<false>(policy, walk, acc, stage, i, 0, args, w, lane);
    } else {
#pragma unroll 1
      for (int i = 0; i < kSteps; i++) {
        attend_step<true>(policy, walk, acc, stage, i, walk[j] * Tile::kStageKeys + i * Tile::kKeys, args, w, lane);
      }
    }
    slot = slot + 1 == Tile::kStages ? 0 : slot + 1;
  }
  store_lse(acc, args, w, policy.lse_correction(), warp, lane);
  ptx::cp_async_wait<0>();
  __syncthreads();  // every warp is done with Q, K, V and the row data: their memory takes the output
  stage_output<Policy::kType>(acc, smem, warp, lane);
  __syncthreads();
  uint16_t* o = static_cast<uint16_t*>(args.o) + w.batch * args.o_stride.batch + w.head * args.o_stride.head;
  store_tile<Tile::kRows, Tile::kD / 8, Tile::kThreads>(smem, o, args.o_stride.row, w.first_row, args.lq, args.head_dim,
                                                        args.vector_io, threadIdx.x);
}

template <class Policy, class Walk = AllTiles>
cudaError_t launch_attend_mma(const AttentionArgs& args, cudaStream_t stream) {
  using Tile = typename Policy::Tile;
  constexpr auto kernel = attend_mma_kernel<Policy, Walk>;
  const cudaError_t error = allow_shared_memory<kernel>(Tile::kSmemBytes);
  if (error != cudaSuccess) return error;
  const unsigned grid = static_cast<unsigned>((args.lq + Tile::kRows - 1) / Tile::kRows) * args.batch * args.heads_q;
  kernel<<<grid, Tile::kThreads, Tile::kSmemBytes, stream>>>(args);
  return cudaGetLastError();
}

}  // namespace attn4j
