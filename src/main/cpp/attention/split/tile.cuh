// The registers and the arithmetic of one warp of attention/split/exact.cuh: scores, softmax, P V.
#pragma once

#include "attention/split/plan.h"
#include "device/numeric.cuh"
#include "device/ptx/cp_async.cuh"
#include "device/ptx/ldmatrix.cuh"
#include "device/ptx/mbarrier.cuh"
#include "device/tile.cuh"

namespace attn4j {

template <class Geometry>
struct SplitTile : Geometry {
  using KeyTile = PanelTile<Geometry::kStageKeys, Geometry::kD>;
  using QueryTile = PanelTile<Geometry::kRows, Geometry::kD>;
  static_assert(2 * KeyTile::kBytes == Geometry::kStageBytes && QueryTile::kBytes == Geometry::kQueryBytes);
  // The fragments of Q stay in registers where they fit beside the accumulator.
  static constexpr bool kQueriesInRegisters = Geometry::kBlocks == 1 && Geometry::kD <= 128;
};

// The address that a lane gives ldmatrix: piece `piece` (of 8 channels) in row `row` of a tile, both below 16. Rows
// that are a multiple of 8 away lie at a constant distance, pieces that are a multiple of 2 away at constant flipped
// bits.
template <class Tile>
class SplitLane {
 public:
  __device__ __forceinline__ SplitLane(int row, int piece)
      : wide_(row * 128 + ((piece ^ (row & 7)) << 4)), narrow_(row * 64 + ((piece ^ (row >> 1 & 3)) << 4)) {}
  // In the tile at `smem`, `rows` (a multiple of 8) below and `pieces` (a multiple of 2) to the right.
  __device__ __forceinline__ uint32_t at(uint32_t smem, int rows, int pieces) const {
    if (pieces < 8 * Tile::kWidePanels) {
      return smem + (wide_ ^ (pieces % 8 * 16)) + rows * 128 + pieces / 8 * Tile::kPanelBytes;
    }
    return smem + (narrow_ ^ (pieces % 4 * 16)) + rows * 64 + Tile::kNarrow;
  }

 private:
  uint32_t wide_, narrow_;
};

// Starts the copy of a tile's rows of a strided 16-bit tensor, `first_row` being the first. Rows from `row_end` on and
// channels from `channel_end` on, in steps of 8, become zeros. One warp is enough, unlike for PanelCopy.
template <class Tile, int kThreads>
__device__ __forceinline__ void split_load_panels(uint32_t smem, const uint16_t* base, int64_t row_stride,
                                                  int first_row, int row_end, int channel_end, unsigned thread) {
  constexpr int kRows = Tile::kTileRows;
  {
    constexpr int kStep = kThreads / 8;
    static_assert(kRows % kStep == 0 && (kStep % 8 == 0 || kStep == 4));
    const int r = thread / 8, c = thread % 8;
    const uint32_t target = smem + r * 128 + ((c ^ (r & 7)) << 4);
    const uint16_t* source = base + (first_row + r) * row_stride + c * 8;
#pragma unroll
    for (int n = 0; n < kRows / kStep; n++) {
      const int columns = first_row + r + n * kStep < row_end ? channel_end - 8 * c : 0;
      const uint32_t row = (target ^ (n * kStep % 8 * 16)) + n * kStep * 128;  // one warp goes down by 4 rows
#pragma unroll
      for (int p = 0; p < Tile::kWidePanels; p++) {
        ptx::cp_async_16(row + p * Tile::kPanelBytes, source + 64 * p, 64 * p < columns);
      }
      source += kStep * row_stride;
    }
  }
  if constexpr (Tile::kHasNarrow) {
    constexpr int kStep = kThreads / 4;
    static_assert(kRows % kStep == 0);
    const int r = thread / 4, c = thread % 4, channel = 64 * Tile::kWidePanels + 8 * c;
    const uint32_t target = smem + Tile::kNarrow + r * 64 + ((c ^ (r >> 1 & 3)) << 4);
    const uint16_t* source = base + (first_row + r) * row_stride + channel;
    const int end = channel < channel_end ? row_end : 0;
#pragma unroll
    for (int n = 0; n < kRows / kStep; n++) {
      ptx::cp_async_16(target + n * kStep * 64, source, first_row + r + n * kStep < end);
      source += kStep * row_stride;
    }
  }
}

// In log2 units: a row keeps its reference until its maximum has grown by this. Any reference cancels in the result;
// probabilities reach 2^8, far inside fp16.
constexpr float kSplitHeadroom = 8.f;

// Bits of `x`'s two 16-bit floats that are set where one is infinite or NaN: 0x8000 in its half.
template <DType T>
__device__ __forceinline__ uint32_t not_finite2(uint32_t x) {
  constexpr uint32_t kExponent = T == DType::kFloat16 ? 0x7c007c00u : 0x7f807f80u;
  constexpr uint32_t kUnit = T == DType::kFloat16 ? 0x04000400u : 0x00800080u;
  return ((x & kExponent) + kUnit) & 0x80008000u;
}

// What a warp has of its rows. Index h of a row pair: row lane / 4 (h = 0) or row lane / 4 + 8 (h = 1).
template <class Tile, DType T>
struct SplitSums {
  static constexpr int kBlocks = Tile::kBlocks;

  float o[kBlocks][Tile::kD / 8][4];
  float sum[kBlocks][2];  // of this lane's columns alone, not rounded to 16 bits: the log-sum-exp is exact to fp32
  float m[kBlocks][2];    // references in log2 units, the same in the four lanes of a row

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int b = 0; b < kBlocks; b++) {
#pragma unroll
      for (int i = 0; i < Tile::kD / 8; i++) {
#pragma unroll
        for (int e = 0; e < 4; e++) o[b][i][e] = 0.f;
      }
      sum[b][0] = sum[b][1] = 0.f;
      m[b][0] = m[b][1] = -kInfinity;
    }
  }

  // Moves the references where a score has outgrown one. `s` is in log2 units after multiplication by `scale`. A lane
  // looks at its own scores; the maximum of a row is needed in the rare case alone.
  template <int kSteps>
  __device__ __forceinline__ void raise(const float (&s)[kBlocks][kSteps][4], float scale) {
    float most[kBlocks][2];
    bool need = false;
#pragma unroll
    for (int b = 0; b < kBlocks; b++) {
#pragma unroll
      for (int h = 0; h < 2; h++) {
        float x = fmaxf(s[b][0][2 * h], s[b][0][2 * h + 1]);
#pragma unroll
        for (int n = 1; n < kSteps; n++) x = fmaxf(x, fmaxf(s[b][n][2 * h], s[b][n][2 * h + 1]));
        most[b][h] = x * scale;
        need |= most[b][h] > m[b][h] + kSplitHeadroom;
      }
    }
    if (!__any_sync(kFullWarp, need)) return;
#pragma unroll
    for (int b = 0; b < kBlocks; b++) {
#pragma unroll
      for (int h = 0; h < 2; h++) {
        float x = most[b][h];
        x = fmaxf(x, __shfl_xor_sync(kFullWarp, x, 1));
        x = fmaxf(x, __shfl_xor_sync(kFullWarp, x, 2));
        const bool up = x > m[b][h] + kSplitHeadroom;
        const float factor = up ? ptx::ex2_approx_ftz(m[b][h] - x) : 1.f;
        if (up) m[b][h] = x;
#pragma unroll
        for (int i = 0; i < Tile::kD / 8; i++) {
          o[b][i][2 * h] *= factor;
          o[b][i][2 * h + 1] *= factor;
        }
        sum[b][h] *= factor;
      }
    }
  }

  // Probabilities of one step, as A fragments of 16 keys, and their sums.
  template <int kSteps>
  __device__ __forceinline__ void exponentiate(const float (&s)[kBlocks][kSteps][4], float scale,
                                               uint32_t (&p)[kBlocks][kSteps / 2][4]) {
#pragma unroll
    for (int b = 0; b < kBlocks; b++) {
#pragma unroll
      for (int h = 0; h < 2; h++) {
        const float reference = m[b][h] == -kInfinity ? 0.f : m[b][h];  // no key so far: 2^(-inf - 0) = 0
#pragma unroll
        for (int n = 0; n < kSteps; n++) {
          const float x = ptx::ex2_approx_ftz(fmaf(s[b][n][2 * h], scale, -reference));
          const float y = ptx::ex2_approx_ftz(fmaf(s[b][n][2 * h + 1], scale, -reference));
          sum[b][h] += x + y;
          p[b][n / 2][2 * (n % 2) + h] = Element<T>::pack(x, y);
        }
      }
    }
  }

  // O += P V of 16 * kPairs keys from row `first` of the tile on. With kGuarded infinities and NaN of V count for
  // nothing here (0 times them would be NaN in rows that don't see them); the result says whether there were any.
  template <bool kGuarded, int kPairs>
  __device__ __forceinline__ bool add_pv(const uint32_t (&p)[kBlocks][kPairs][4], uint32_t v_smem, int first,
                                         int lane) {
    const SplitLane<typename Tile::KeyTile> v_lane(lane & 15, lane >> 4);
    uint32_t found = 0;
#pragma unroll
    for (int k = 0; k < kPairs; k++) {
#pragma unroll
      for (int c = 0; c < Tile::kD / 8; c += 2) {
        uint32_t v[4];
        ptx::ldmatrix_x4_trans(v, v_lane.at(v_smem, first + 16 * k, c));
        if constexpr (kGuarded) {
#pragma unroll
          for (int i = 0; i < 4; i++) {
            const uint32_t bad = not_finite2<T>(v[i]);
            v[i] &= ~((bad >> 15) * 0xffffu);
            found |= bad;
          }
        }
#pragma unroll
        for (int b = 0; b < kBlocks; b++) {
          Element<T>::mma(o[b][c], p[b][k], v[0], v[1]);
          Element<T>::mma(o[b][c + 1], p[b][k], v[2], v[3]);
        }
      }
    }
    return kGuarded && __any_sync(kFullWarp, found != 0);
  }

  // Adds what add_pv left out, to the rows that see it. `ends` are the keys that the rows see, counted from `first`.
  template <int kKeys>
  __device__ __forceinline__ void add_not_finite(const char* v, int first, const int (&ends)[kBlocks][2], int lane) {
#pragma unroll 1
    for (int k = 0; k < kKeys; k++) {
#pragma unroll
      for (int i = 0; i < Tile::kD / 8; i++) {
        // SplitLane's address of one row and one piece, as ldmatrix would be given it.
        const SplitLane<typename Tile::KeyTile> key((first + k) & 15, i & 1);
        const uint32_t at = key.at(0, (first + k) & ~15, i & ~1) + lane % 4 * 4;
        const uint32_t word = *reinterpret_cast<const uint32_t*>(v + at);
        const uint32_t bad = not_finite2<T>(word);
        if (bad == 0) continue;
        const float2 x = Element<T>::unpack(word);
#pragma unroll
        for (int b = 0; b < kBlocks; b++) {
#pragma unroll
          for (int h = 0; h < 2; h++) {
            if (k >= ends[b][h]) continue;
            if ((bad & 0x8000u) != 0) o[b][i][2 * h] += x.x;
            if ((bad >> 31) != 0) o[b][i][2 * h + 1] += x.y;
          }
        }
      }
    }
  }
};

// The queries of a warp: fragments in registers, or where they lie in shared memory.
template <class Tile, DType T, bool kInRegisters = Tile::kQueriesInRegisters>
class SplitQueries {
 public:
  __device__ __forceinline__ SplitQueries(uint32_t q_smem, int first_row, int lane)
      : q_smem_(q_smem), first_row_(first_row), lane_(lane & 15, lane >> 4) {}
  __device__ __forceinline__ void fragment(uint32_t (&a)[4], int block, int step) const {
    ptx::ldmatrix_x4(a, lane_.at(q_smem_, first_row_ + 16 * block, 2 * step));
  }

 private:
  uint32_t q_smem_;
  int first_row_;
  SplitLane<typename Tile::QueryTile> lane_;
};

template <class Tile, DType T>
class SplitQueries<Tile, T, true> {
 public:
  __device__ __forceinline__ SplitQueries(uint32_t q_smem, int first_row, int lane) {
    const SplitLane<typename Tile::QueryTile> address(lane & 15, lane >> 4);
#pragma unroll
    for (int d = 0; d < Tile::kD / 16; d++) ptx::ldmatrix_x4(q_[d], address.at(q_smem, first_row, 2 * d));
  }
  __device__ __forceinline__ void fragment(uint32_t (&a)[4], int, int step) const {
#pragma unroll
    for (int i = 0; i < 4; i++) a[i] = q_[step][i];
  }

 private:
  uint32_t q_[Tile::kD / 16][4];
};

// S = Q K^T for 8 * kSteps keys from row `first` of the tile on.
template <class Tile, DType T, int kSteps>
__device__ __forceinline__ void split_scores(float (&s)[Tile::kBlocks][kSteps][4], const SplitQueries<Tile, T>& queries,
                                             uint32_t k_smem, int first, int lane) {
  const SplitLane<typename Tile::KeyTile> k_lane((lane >> 4) * 8 + (lane & 7), (lane >> 3) & 1);
#pragma unroll
  for (int b = 0; b < Tile::kBlocks; b++) {
#pragma unroll
    for (int n = 0; n < kSteps; n++) {
#pragma unroll
      for (int e = 0; e < 4; e++) s[b][n][e] = 0.f;
    }
  }
#pragma unroll
  for (int d = 0; d < Tile::kD / 16; d++) {
    uint32_t a[Tile::kBlocks][4];
#pragma unroll
    for (int b = 0; b < Tile::kBlocks; b++) queries.fragment(a[b], b, d);
#pragma unroll
    for (int n = 0; n < kSteps; n += 2) {
      uint32_t k[4];
      ptx::ldmatrix_x4(k, k_lane.at(k_smem, first + 8 * n, 2 * d));
#pragma unroll
      for (int b = 0; b < Tile::kBlocks; b++) {
        Element<T>::mma(s[b][n], a[b], k[0], k[1]);
        Element<T>::mma(s[b][n + 1], a[b], k[2], k[3]);
      }
    }
  }
}

}  // namespace attn4j
