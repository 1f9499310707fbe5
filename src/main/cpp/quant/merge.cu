// Accumulates partial attention results by their log-sum-exp (ring attention, arXiv:2310.01889; the rescaling of
// FlashAttention-2, arXiv:2307.08691, section 3.1, between calls instead of between key tiles). Bound by memory: each
// element is read and written once, by accesses that the lanes of a row make side by side.
#include "device/launch.cuh"
#include "device/numeric.cuh"
#include "quant/merge.h"

namespace attn4j {
namespace {

constexpr int kThreads = 256;
constexpr int kChannels = 4;  // of a piece
constexpr int kPieces = 2;    // of a thread, in each of its rows

// What the sum and the part count for in a row, and the row's new log-sum-exp. A side that saw no key (-inf) counts for
// nothing, whatever its values are. Each weight comes from an exponential of a negative number: nothing overflows, and
// a value that is infinite meets no other one in a difference.
struct MergeWeights {
  float m, n;  // the log-sum-exps of the sum and of the part
  float e;     // of the smaller side, relative to the larger one
  float sum = 1.f, part = 0.f;
  bool no_sum, no_part;

  __device__ __forceinline__ MergeWeights(float sum_lse, float part_lse)
      : m(sum_lse), n(part_lse), e(expf(-fabsf(n - m))), no_sum(m == -kInfinity), no_part(n == -kInfinity) {
    if (no_part) return;
    const float high = ptx::rcp_approx(1.f + e), low = e * high;
    sum = no_sum ? 0.f : n > m ? low : high;
    part = no_sum ? 1.f : n > m ? high : low;
  }
  __device__ __forceinline__ float merged(float y, float x) const {
    return sum * (no_sum ? 0.f : y) + part * (no_part ? 0.f : x);
  }
  __device__ __forceinline__ float lse() const {
    if (no_part || no_sum) return no_part ? m : n;
    return (n > m ? n : m) + log1pf(e);
  }
};

// 4 channels from p on; without kVector those from `valid` on are neither read nor written.
template <bool kVector>
__device__ __forceinline__ uint2 load_words(const uint16_t* p, int valid) {
  if constexpr (kVector) {
    return *reinterpret_cast<const uint2*>(p);
  } else {
    uint32_t w[2] = {0u, 0u};
#pragma unroll
    for (int i = 0; i < kChannels; i++) {
      if (i < valid) w[i / 2] |= static_cast<uint32_t>(p[i]) << (16 * (i % 2));
    }
    return make_uint2(w[0], w[1]);
  }
}

template <bool kVector>
__device__ __forceinline__ float4 load_floats(const float* p, int valid) {
  if constexpr (kVector) {
    return *reinterpret_cast<const float4*>(p);
  } else {
    float x[kChannels];
#pragma unroll
    for (int i = 0; i < kChannels; i++) x[i] = i < valid ? p[i] : 0.f;
    return make_float4(x[0], x[1], x[2], x[3]);
  }
}

template <bool kVector>
__device__ __forceinline__ void store_words(uint16_t* p, uint2 w, int valid) {
  if constexpr (kVector) {
    *reinterpret_cast<uint2*>(p) = w;
  } else {
#pragma unroll
    for (int i = 0; i < kChannels; i++) {
      if (i < valid) p[i] = static_cast<uint16_t>((i < 2 ? w.x : w.y) >> (16 * (i % 2)));
    }
  }
}

template <bool kVector>
__device__ __forceinline__ void store_floats(float* p, const float4& x, int valid) {
  if constexpr (kVector) {
    *reinterpret_cast<float4*>(p) = x;
  } else {
    const float y[kChannels] = {x.x, x.y, x.z, x.w};
#pragma unroll
    for (int i = 0; i < kChannels; i++) {
      if (i < valid) p[i] = y[i];
    }
  }
}

// Where a thread works. Heads lie side by side (NHD) or rows do (HND): neighbours in memory are neighbours in a CTA.
struct MergePlace {
  int batch, head, first, rows;  // `rows` rows from `first` on; 0: nothing is left
  int lane, lanes;

  __device__ __forceinline__ MergePlace(const MergeTask& t, int lanes_log2, unsigned groups, bool heads_inside) {
    const unsigned unit = blockIdx.x * (kThreads >> lanes_log2) + (threadIdx.x >> lanes_log2);
    const unsigned in_batch = groups * t.heads, b = unit / in_batch, rest = unit - b * in_batch;
    const unsigned inside = heads_inside ? t.heads : groups, outer = rest / inside, inner = rest - outer * inside;
    batch = static_cast<int>(b), head = static_cast<int>(heads_inside ? inner : outer);
    first = static_cast<int>(heads_inside ? outer : inner) * kMergeRows;
    rows = batch < t.batch ? min(t.rows - first, kMergeRows) : 0;
    lanes = 1 << lanes_log2, lane = static_cast<int>(threadIdx.x) & (lanes - 1);
  }
  __device__ __forceinline__ int64_t in(const Strides& s) const {
    return batch * s.batch + head * s.head + first * s.row;
  }
  __device__ __forceinline__ int channel(int piece) const { return (lane + piece * lanes) * kChannels; }
};

// What a thread reads of a row.
struct MergeRow {
  float m, n;
  uint2 part[kPieces];
  float4 sum[kPieces];

  template <bool kVector>
  __device__ __forceinline__ void load(const MergeTask& t, const MergePlace& at, const uint16_t* p, const float* s) {
#pragma unroll
    for (int k = 0; k < kPieces; k++) {
      const int c = at.channel(k), valid = t.head_dim - c;
      part[k] = valid > 0 ? load_words<kVector>(p + c, valid) : make_uint2(0u, 0u);
      sum[k] = valid > 0 && !t.is_first ? load_floats<kVector>(s + c, valid) : make_float4(0.f, 0.f, 0.f, 0.f);
    }
  }
};

// 2^lanes_log2 threads of a warp for kMergeRows rows of a head. All reads of a thread are asked for before the first is
// needed; where there is no second row, the first is read again.
template <DType T, bool kVector>
__global__ void __launch_bounds__(kThreads)
    merge_kernel(const __grid_constant__ MergeTask t, int lanes_log2, unsigned groups, bool heads_inside) {
  const MergePlace at(t, lanes_log2, groups, heads_inside);
  const uint16_t* const part = static_cast<const uint16_t*>(t.part) + at.in(t.part_stride);
  const int64_t dense = (int64_t{at.batch} * t.heads + at.head) * t.rows + at.first;  // in [b][h][l]
  float* const sum = t.sum + at.in(t.sum_stride);
  float* const sum_lse = t.sum_lse + at.batch * t.sum_lse_batch + at.head * t.sum_lse_head + at.first;
  MergeRow row[kMergeRows];
#pragma unroll
  for (int i = 0; i < kMergeRows; i++) {
    if (at.rows == 0) break;
    const int r = i < at.rows ? i : 0;
    row[i].n = t.part_lse[dense + r];
    row[i].m = t.is_first ? -kInfinity : sum_lse[r];
    row[i].load<kVector>(t, at, part + r * t.part_stride.row, sum + r * t.sum_stride.row);
  }
  __syncwarp();  // a row's first lane writes the log-sum-exp that all of its lanes have read
#pragma unroll
  for (int i = 0; i < kMergeRows; i++) {
    if (i >= at.rows) break;
    const MergeWeights w(row[i].m, row[i].n);
#pragma unroll
    for (int k = 0; k < kPieces; k++) {
      const int c = at.channel(k), valid = t.head_dim - c;
      if (valid <= 0) break;
      const float2 low = Element<T>::unpack(row[i].part[k].x), high = Element<T>::unpack(row[i].part[k].y);
      const float4 y = row[i].sum[k];
      const float4 z =
          make_float4(w.merged(y.x, low.x), w.merged(y.y, low.y), w.merged(y.z, high.x), w.merged(y.w, high.y));
      if (t.o == nullptr) {
        store_floats<kVector>(sum + i * t.sum_stride.row + c, z, valid);
      } else {
        uint16_t* const o = static_cast<uint16_t*>(t.o) + at.in(t.o_stride) + i * t.o_stride.row + c;
        store_words<kVector>(o, make_uint2(Element<T>::pack(z.x, z.y), Element<T>::pack(z.z, z.w)), valid);
      }
    }
    float* const lse = t.o == nullptr ? sum_lse : t.lse == nullptr ? nullptr : t.lse + dense;
    if (at.lane == 0 && lse != nullptr) lse[i] = w.lse();
  }
}

template <DType T>
cudaError_t launch_merge(const MergeTask& task, cudaStream_t stream) {
  int lanes_log2 = 0;
  while (kPieces * kChannels << lanes_log2 < task.head_dim) lanes_log2++;
  const unsigned groups = (task.rows + kMergeRows - 1) / kMergeRows, units = kThreads >> lanes_log2;
  const unsigned all = groups * task.heads * task.batch, ctas = (all + units - 1) / units;
  const bool heads_inside = task.part_stride.head < task.part_stride.row;
  return enqueue_kernel(task.vector_io ? merge_kernel<T, true> : merge_kernel<T, false>, ctas, kThreads, 0, stream,
                        task, lanes_log2, groups, heads_inside);
}

}  // namespace

cudaError_t enqueue_merge(const MergeTask& task, cudaStream_t stream) {
  return task.dtype == DType::kFloat16 ? launch_merge<DType::kFloat16>(task, stream)
                                       : launch_merge<DType::kBFloat16>(task, stream);
}

}  // namespace attn4j
