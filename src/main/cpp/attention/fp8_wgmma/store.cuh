// The end of an item in the Hopper kernel.
#pragma once

#include "attention/fp8_wgmma/item.cuh"
#include "attention/nonfinite.cuh"
#include "device/numeric.cuh"
#include "device/ptx/global_access.cuh"
#include "device/ptx/math.cuh"

namespace attn4j {

// Normalises and writes a thread's two rows. Rows without a key are zeros with an LSE of -inf. Returns whether all sums
// of the warp's rows are finite.
template <class P, DType T, class Consumer>
__device__ __forceinline__ bool wgmma_store(const WgmmaParams& p, const WgmmaItem& item, const float* v_scale,
                                            Consumer& c) {
  const AttentionArgs& a = p.a;
  using E = Element<T>;
  const int lane = threadIdx.x & 31, channel = 8 * (lane & 3);
  const int64_t head = static_cast<int64_t>(item.batch) * a.heads_q + item.head;
  const int row = item.first_row + c.warp_row + (lane >> 2);
  const float(&sums)[P::kVRows / 2] = c.sums();
  float sum[2], inverse[2];
#pragma unroll
  for (int r = 0; r < 2; r++) {
    // The ones column is column D: quad lane 0, first of its two values.
    sum[r] = __shfl_sync(kFullWarp, sums[P::kVRows / 2 - 4 + 2 * r], lane & 28);
    inverse[r] = sum[r] == 0.f ? 0.f : ptx::rcp_approx(sum[r]);  // a NaN stays one
  }
  // Where row + 8 r stands in o and lse.
  const auto place = [&](int r) {
    const int own = row + 8 * r;
    if constexpr (P::kListed) {
      const bool moves = a.token_places != nullptr && own < a.lq;
      return moves ? __ldg(a.token_places + static_cast<int64_t>(item.batch) * a.lq + own) : own;
    }
    return own;
  };
  if (a.lse != nullptr && channel == 0) {
#pragma unroll
    for (int r = 0; r < 2; r++) {
      if (row + 8 * r >= a.lq) continue;
      // The second half of q_scale holds q . mean(k), which the shifted scores lack.
      const int64_t padded = head * a.lq_padded + row + 8 * r;
      const float shift =
          a.k_mean ? __ldcg(a.q_scale + padded + static_cast<int64_t>(a.batch) * a.heads_q * a.lq_padded) : 0.f;
      a.lse[head * a.lq + place(r)] = sum[r] == 0.f ? -kInfinity : kLn2 * (c.reference[r] + log2f(sum[r]) + shift);
    }
  }
  // What was subtracted from a channel of V, and what rounding took from it, averaged over the keys, go into the output
  // of rows that see a key: the weights of a row sum to 1.
  const int keys = a.kv_lengths ? min(a.kv_lengths[item.batch], a.lk) : a.lk;
  const float mean = keys > 0 ? __fdividef(a.v_error_unit, static_cast<float>(keys)) : 0.f;
  // Of 32 channels the quad's threads have 8 neighbours each: the order of V's columns makes it so.
  constexpr int kParts = P::kHeadDim / 32;
  const auto normalised = [&](int part, int r) {
    const auto* scales = reinterpret_cast<const float4*>(v_scale + 32 * part + channel);
    const auto* errors = scales + P::kHeadDim / 4;
    const auto* means = errors + P::kHeadDim / 4;
    const float sees = inverse[r] == 0.f ? 0.f : 1.f, factor = sees * mean;
    uint32_t two[4];
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
      if (P::kSlab && i > 0) __syncwarp();
      const float4 s = scales[i / 2], e = errors[i / 2];
      const float* x = sums + 16 * part + 4 * i + 2 * r;
      float y[4] = {fmaf(x[0], inverse[r], (e.x - kNoError) * factor) * s.x,
                    fmaf(x[1], inverse[r], (e.y - kNoError) * factor) * s.y,
                    fmaf(x[4], inverse[r], (e.z - kNoError) * factor) * s.z,
                    fmaf(x[5], inverse[r], (e.w - kNoError) * factor) * s.w};
      if (P::kSlab) __syncwarp();  // few registers: the means come last
      const float4 m = means[i / 2];
      two[i] = E::pack(fmaf(m.x, sees, y[0]), fmaf(m.y, sees, y[1]));
      two[i + 1] = E::pack(fmaf(m.z, sees, y[2]), fmaf(m.w, sees, y[3]));
    }
    return make_uint4(two[0], two[1], two[2], two[3]);
  };
  auto* const target = static_cast<typename E::type*>(a.o) + item.batch * a.o_stride.batch +
                       item.head * a.o_stride.head + (P::kListed ? 0 : row * a.o_stride.row) + channel;
  const auto store = [&](int part, int r, const uint4& x) {
    if (row + 8 * r < a.lq && 32 * part + channel < a.head_dim) {
      const int64_t rows = P::kListed ? place(r) : 8 * r;  // from the target
      ptx::store_global_words4(target + rows * a.o_stride.row + 32 * part, x);
    }
  };
  float nothing = 0.f;
#pragma unroll
  for (int i = 0; i < P::kVRows / 2; i++) nothing = fmaf(sums[i], 0.f, nothing);
  const bool finite = __all_sync(kFullWarp, nothing == 0.f);
  if constexpr (P::kSlab) {
#pragma unroll
    for (int part = 0; part < kParts; part++) {
#pragma unroll
      for (int r = 0; r < 2; r++) {
        store(part, r, normalised(part, r));
        __syncwarp();  // few registers: loads of the next part stay behind it
      }
    }
  } else {  // loads of shared memory wait for stores before them: all stores last
    uint4 out[kParts][2];
#pragma unroll
    for (int part = 0; part < kParts; part++) {
#pragma unroll
      for (int r = 0; r < 2; r++) out[part][r] = normalised(part, r);
    }
#pragma unroll
    for (int part = 0; part < kParts; part++) {
#pragma unroll
      for (int r = 0; r < 2; r++) store(part, r, out[part][r]);
    }
  }
  return finite;
}

// Items of which a warp has found rows that are not finite. It computes them again when there is nothing else to do:
// that takes registers which the main loop has not. The list lies in shared memory, a count before it; if it is too
// short, the warp looks at its rows of all items, and computes at worst what another CTA does, too.
template <class P, DType T>
class WgmmaSuspects {
 public:
  __device__ __forceinline__ WgmmaSuspects(uint32_t smem, int warp_row)
      : at_(smem + P::Map::kSuspectsAt + warp_row / 16 * P::Map::kSuspectBytes) {}

  __device__ __forceinline__ void clear() const { ptx::store_shared_int(at_, 0); }

  __device__ __forceinline__ void note(const WgmmaParams& p, const WgmmaItem& item) const {
    const int count = ptx::load_shared_int(at_) + 1;
    __syncwarp();
    ptx::store_shared_int(at_, count);
    if (count <= kRoom) {
      const int head = item.batch * p.a.heads_q + item.head;
      ptx::store_shared_int(at_ + 4 * count, head * p.query_blocks + item.first_row / P::kRows);
    }
  }

  // A call, so that the main loop's registers are not shared with it.
  __device__ __noinline__ void repair(const WgmmaParams& p, int warp_row) const {
    __syncwarp();
    const int count = ptx::load_shared_int(at_), all = p.a.batch * p.a.heads_q * p.query_blocks;
    const bool listed = count <= kRoom;
#pragma unroll 1
    for (int i = 0; i < (listed ? count : all); i++) {
      const int number = listed ? ptx::load_shared_int(at_ + 4 + 4 * i) : i, head = number / p.query_blocks;
      VisitedBlocks blocks;
      if constexpr (P::kListed) {
        blocks.list = p.a.blocks.list + static_cast<int64_t>(number) * (p.a.lk_padded / P::kBlockKeys);
        blocks.count = p.a.blocks.count[number], blocks.keys = P::kBlockKeys;
        if (p.a.token_places != nullptr) {
          blocks.tokens = p.a.token_places + static_cast<int64_t>(head / p.a.heads_q) * p.a.lq;
        }
      }
      repair_rows<T, P::kHeadDim>(p.a, {head, (number - head * p.query_blocks) * P::kRows + warp_row, 16}, blocks);
    }
  }

 private:
  static constexpr int kRoom = P::Map::kSuspectBytes / 4 - 1;
  uint32_t at_;
};

}  // namespace attn4j
