// Rows that meet values that are not finite, for every attention kernel.
//
// The fast kernels let such values spread: 0 times inf is NaN, so a value of V that a causal mask hides from one row of
// a tile and shows to another reaches both, and keys that share an INT8 scale share what spoils it. They never lose
// one, though: whatever a row sees ends in a row sum or an output that is not finite. So a kernel that has met one
// looks at its outputs at its end and computes those that are not finite again, here: slowly, in fp32, from Q, K and V
// as they were given. What a mask hides is then not read at all.
//
// What pre-passes must do for it: means and whatever else all keys share are made of finite values alone, and the scale
// of a group that holds another value is not finite, so that every score of the group is NaN. Where values that add
// nothing are left out, maxima must not lose a NaN (ptx::max_nan).
#pragma once

#include "attention/arguments.h"
#include "device/numeric.cuh"
#include "device/ptx/math.cuh"

namespace attn4j {

// What a row of block-sparse attention visits: blocks of `keys` keys, ascending. Without a list a row visits all keys.
struct VisitedBlocks {
  const int32_t* list = nullptr;
  int32_t count = 0, keys = 0;
  const int32_t* tokens = nullptr;  // row i of q, o and lse stands in place tokens[i] there; null: in its own
};

// The masks of a request that has none; attention/mask_row.cuh has those of one that has.
struct NoMaskRow {
  static constexpr bool kMasks = false;
  __device__ __forceinline__ NoMaskRow(const AttentionArgs&, int, int) {}
  __device__ __forceinline__ bool add(int, float*) const { return true; }
};

// Some rows of one head.
struct RowRange {
  int flat_head;  // batch * heads_q + head
  int first, count;
};

// One row of O, by one warp. The channels c of V and O that are c = lane modulo 32 belong to a lane, and so does every
// 32nd key while scores are made.
template <DType T, int kD, class Mask = NoMaskRow>
class CarefulRow {
 public:
  __device__ __forceinline__ CarefulRow(const AttentionArgs& args, int flat_head, int row, int lane)
      : args_(args), flat_head_(flat_head), row_(row), lane_(lane) {
    const int batch = flat_head / args.heads_q, head = flat_head - batch * args.heads_q, kv_head = head / args.group;
    q_ = tensor(args.q) + batch * args.q_stride.batch + head * args.q_stride.head + row * args.q_stride.row;
    k_ = tensor(args.k) + batch * args.k_stride.batch + kv_head * args.k_stride.head;
    v_ = tensor(args.v) + batch * args.v_stride.batch + kv_head * args.v_stride.head;
    o_ = static_cast<uint16_t*>(args.o) + batch * args.o_stride.batch + head * args.o_stride.head +
         row * args.o_stride.row;
    end_ = args.kv_lengths != nullptr ? min(max(args.kv_lengths[batch], 0), args.lk) : args.lk;
    end_ = min(end_, row + args.causal_offset + 1);
    first_place_ = static_cast<int64_t>(batch) * args.lk;
  }

  // Whether what stands in O is finite.
  __device__ __forceinline__ bool is_finite() const {
    bool finite = true;
#pragma unroll 1
    for (int c = lane_; c < args_.head_dim; c += 32) finite &= Element<T>::is_finite(o_[c]);
    return __all_sync(kFullWarp, finite);
  }

  __device__ __forceinline__ void compute(const VisitedBlocks& blocks) {
    if (blocks.list == nullptr) {
      visit(0, end_);
    } else {
#pragma unroll 1
      for (int i = 0; i < blocks.count; i++) {
        const int first = blocks.list[i] * blocks.keys;
        visit(first, min(first + blocks.keys, end_));
      }
    }
    store();
  }

 private:
  static constexpr int kChannels = (kD + 31) / 32;  // of a lane
  // A probability above 0 stays above 0, so that its product with an infinite value is infinite, as on paper. It adds
  // nothing to others.
  static constexpr float kLeast = 1.2e-38f;

  static __device__ __forceinline__ const uint16_t* tensor(const void* data) {
    return static_cast<const uint16_t*>(data);
  }

  __device__ __forceinline__ void visit(int first, int end) {
#pragma unroll 1
    for (; first < end; first += 32) add_keys(first, min(end - first, 32));
  }

  // Where a key stands in k or v.
  __device__ __forceinline__ int place(const int32_t* places, int key) const {
    if (places == nullptr) return key;
    const int place = places[first_place_ + key];
    return place ^ place >> 31;
  }
  // Of a mask of keys.
  __device__ __forceinline__ bool is_hidden(int key) const {
    return args_.hidden_keys != nullptr && args_.key_places[first_place_ + key] < 0;
  }

  // In log2 units.
  __device__ __forceinline__ float score(int key) const {
    const uint16_t* k = k_ + place(args_.key_places, key) * args_.k_stride.row;
    float s = 0.f;
#pragma unroll 4
    for (int c = 0; c < args_.head_dim; c++) s = fmaf(Element<T>::to_float(q_[c]), Element<T>::to_float(k[c]), s);
    return s * (args_.scale_log2 * args_.q_sign);
  }

  // The next `count` <= 32 keys.
  __device__ __forceinline__ void add_keys(int first, int count) {
    float s = lane_ < count && !is_hidden(first + lane_) ? score(first + lane_) : -kInfinity;
    [[maybe_unused]] uint32_t shown = 0;
    if constexpr (Mask::kMasks) {
      const bool shows = lane_ < count && Mask(args_, flat_head_, row_).add(first + lane_, &s);
      if (!shows) s = -kInfinity;
      shown = __ballot_sync(kFullWarp, shows);
    }
    float top = s;
#pragma unroll
    for (int o = 16; o > 0; o >>= 1) top = fmaxf(top, __shfl_xor_sync(kFullWarp, top, o));
    const float raised = fmaxf(reference_, top);
    const float alpha = positive(ptx::ex2_approx_ftz(reference_ - raised));
    reference_ = raised;
    float p = ptx::ex2_approx_ftz(s - raised);
    if (s > -kInfinity) p = positive(p);
    sum_ = fmaf(sum_, alpha, p);
#pragma unroll
    for (int i = 0; i < kChannels; i++) output_[i] *= alpha;
#pragma unroll 1
    for (int n = 0; n < count; n++) {
      const float weight = __shfl_sync(kFullWarp, p, n);
      if (is_hidden(first + n)) continue;
      const uint16_t* v = v_ + place(args_.value_places, first + n) * args_.v_stride.row + lane_;
      if constexpr (Mask::kMasks) {
        if ((shown >> n & 1) == 0) continue;  // not even 0 times what lies there
      }
#pragma unroll
      for (int i = 0; i < kChannels; i++) {
        if (lane_ + 32 * i < args_.head_dim) output_[i] = fmaf(weight, Element<T>::to_float(v[32 * i]), output_[i]);
      }
    }
  }

  // NaN stays NaN.
  static __device__ __forceinline__ float positive(float x) { return x == 0.f ? kLeast : x; }

  __device__ __forceinline__ void store() const {
    float sum = sum_;
#pragma unroll
    for (int o = 16; o > 0; o >>= 1) sum += __shfl_xor_sync(kFullWarp, sum, o);
    const float factor = sum == 0.f ? 0.f : __fdividef(1.f, sum);
#pragma unroll
    for (int i = 0; i < kChannels; i++) {
      const int c = lane_ + 32 * i;
      if (c < args_.head_dim) o_[c] = static_cast<uint16_t>(Element<T>::pack(output_[i] * factor, 0.f));
    }
    if (args_.lse == nullptr || lane_ != 0) return;
    args_.lse[static_cast<int64_t>(flat_head_) * args_.lq + row_] =
        sum == 0.f ? -kInfinity : kLn2 * (reference_ + __log2f(sum));
  }

  const AttentionArgs& args_;
  const int flat_head_, row_, lane_;
  const uint16_t *q_, *k_, *v_;
  uint16_t* o_;
  int end_;                               // keys that the row sees
  int64_t first_place_;                   // of the batch entry, in lists of places
  float reference_ = -1e30f, sum_ = 0.f;  // the sum is this lane's share
  float output_[kChannels] = {};
};

// Computes again those of the rows whose output, written by lanes of this warp, is not finite. Rows behind the last
// query are passed over.
template <DType T, int kD>
__device__ __forceinline__ void repair_rows(const AttentionArgs& args, const RowRange& rows,
                                            const VisitedBlocks& blocks = {}, int lane = threadIdx.x % 32) {
  __syncwarp();
  const int end = min(rows.first + rows.count, args.lq);
#pragma unroll 1
  for (int row = rows.first; row < end; row++) {
    const int place = blocks.tokens != nullptr ? blocks.tokens[row] : row;
    CarefulRow<T, kD> careful(args, rows.flat_head, place, lane);
    if (!careful.is_finite()) careful.compute(blocks);
  }
}

}  // namespace attn4j
