// A consumer warpgroup of the exact Hopper kernel: scores, softmax and output of 64 query rows.
#pragma once

#include "attention/exact_wgmma_tile.cuh"

namespace attn4j {

template <class Tile>
class ExactConsumer {
 public:
  __device__ __forceinline__ ExactConsumer(const ExactParams& params, const ExactShared<Tile>& shared)
      : params_(params),
        shared_(shared),
        warpgroup_(threadIdx.x / 128 - 1),
        lane_(threadIdx.x % 32),
        scale_(fmaxf(params.args.scale_log2, kSmallestScale)) {}

  // One flat walk over the tiles of all query blocks of this CTA. Two multiplies are in flight at a time: the scores of
  // a tile and P*V of the tile before it, which may belong to the query block before.
  __device__ __forceinline__ void run() {
    if constexpr (kPingPong) {
      if (warpgroup_ == Tile::kWarpgroups - 1) ptx::named_barrier_arrive(1, 256);
    }
    WorkCursor cursor(params_.plan);
    enter(WorkBlock::at<Tile::kRows, Tile::kKeys>(cursor, params_.args));
    issue_scores();
    ptx::wgmma_wait_group<0>();
    ptx::wgmma_pin<kScores>(scores_);
    release(shared_.k_empty(k_.slot)), k_.advance();
    first_softmax();
    for (;;) {
      int j = tiles_ - 2;
#pragma unroll 1
      for (; j >= unmasked_tiles_; j--) step<true>(j);
#pragma unroll 1
      for (; j >= 0; j--) step<false>(j);
      release(shared_.q_empty(q_.slot)), q_.advance();
      cursor.advance();
      if (!cursor.valid()) break;
      next_block(cursor);
    }
    issue_values();
    ptx::wgmma_wait_group<0>();
    ptx::wgmma_pin<kOutputs>(output_);
    store();
    if constexpr (kPingPong) {
      if (warpgroup_ == 0) ptx::named_barrier_sync(1, 256);  // the token that nobody waits for any more
    }
  }

 private:
  static constexpr int kScores = Tile::kKeys / 2, kOutputs = Tile::kD / 2;
  static constexpr bool kPingPong = (Tile::kFlags & 1) != 0;
  static constexpr bool kLazyRescale = (Tile::kFlags & 2) != 0;
  static constexpr bool kQueryRegisters = (Tile::kFlags & 4) != 0;
  static constexpr float kHeadroom = 8.f;
  // Below every scaled score, and finite: rows that have seen no key need no special case.
  static constexpr float kLowest = -1e30f;
  // A scale of 0 must not meet the -inf of a masked key; this one makes every unmasked score 0 just as well.
  static constexpr float kSmallestScale = 1e-30f;

  __device__ __forceinline__ void enter(const WorkBlock& w) {
    block_ = w;
    tiles_ = w.tiles;
    const int warpgroup_row = w.first_row + warpgroup_ * 64;
    row_ = warpgroup_row + (threadIdx.x % 128) / 32 * 16 + lane_ / 4;
    unmasked_tiles_ = max(0, min(w.kv_length, warpgroup_row + params_.args.causal_offset + 1)) / Tile::kKeys;
    ptx::mbarrier_wait(shared_.q_full(q_.slot), q_.parity);
    if (params_.args.q_sign < 0.f) negate_queries();
    if constexpr (kQueryRegisters) load_queries();
  }

  __device__ __forceinline__ void load_queries() {
#pragma unroll
    for (int c = 0; c < Tile::kD / 16; c++) {
      constexpr int kStepsPerBox = Tile::kBoxChannels / 16;
      const int row = warpgroup_ * 64 + (threadIdx.x % 128) / 32 * 16 + lane_ % 16;
      const int piece = c % kStepsPerBox * 2 + lane_ / 16;
      const int swizzle = Tile::kSwizzleBytes == 128 ? row % 8 : row / 2 % 4;
      uint32_t r[4];
      ptx::ldmatrix_x4(r, shared_.q(q_.slot) + c / kStepsPerBox * Tile::kRows * Tile::kSwizzleBytes +
                              row * Tile::kSwizzleBytes + (piece ^ swizzle) * 16);
#pragma unroll
      for (int i = 0; i < 4; i++) queries_[4 * c + i] = r[i];
    }
  }

  // Maxima need a positive scale: the sign of a negative one goes to Q.
  __device__ __forceinline__ void negate_queries() const {
    constexpr uint32_t kSigns = 0x80008000u;
#pragma unroll 1
    for (int i = threadIdx.x % 128; i < 64 * Tile::kD * 2 / 16; i += 128) {
      constexpr int kPieces = 64 * Tile::kSwizzleBytes / 16;
      const uint32_t address = shared_.q(q_.slot) + i / kPieces * Tile::kRows * Tile::kSwizzleBytes +
                               warpgroup_ * 64 * Tile::kSwizzleBytes + i % kPieces * 16;
      uint4* x = shared_.piece(address);
      *x = make_uint4(x->x ^ kSigns, x->y ^ kSigns, x->z ^ kSigns, x->w ^ kSigns);
    }
    ptx::fence_proxy_async_shared();
    ptx::named_barrier_sync(8 + warpgroup_, 128);
  }

  __device__ __forceinline__ void issue_scores() {
    ptx::mbarrier_wait(shared_.k_full(k_.slot), k_.parity);
    const uint64_t q = Tile::descriptor(shared_.q(q_.slot) + warpgroup_ * 64 * Tile::kSwizzleBytes, Tile::kRows);
    const uint64_t k = Tile::descriptor(shared_.k(k_.slot), Tile::kKeys);
    ptx::wgmma_fence();
#pragma unroll
    for (int c = 0; c < Tile::kD / 16; c++) {
      constexpr int kStepsPerBox = Tile::kBoxChannels / 16;
      const int box = c / kStepsPerBox, inside = c % kStepsPerBox * 32;
      const uint64_t a = q + (box * Tile::kRows * Tile::kSwizzleBytes + inside) / 16;
      const uint64_t b = k + (box * Tile::kKeys * Tile::kSwizzleBytes + inside) / 16;
      if constexpr (kQueryRegisters) {
        if (c == 0) Wgmma16<Tile::kType, Tile::kKeys>::template rs_first<0>(scores_, queries_, b);
        else Wgmma16<Tile::kType, Tile::kKeys>::template rs<0>(scores_, queries_ + 4 * c, b);
      } else if (c == 0) {
        Wgmma16<Tile::kType, Tile::kKeys>::template ss_first<0>(scores_, a, b);
      } else {
        Wgmma16<Tile::kType, Tile::kKeys>::template ss<0>(scores_, a, b);
      }
    }
    ptx::wgmma_commit_group();
  }

  // V's tile has been waited for.
  __device__ __forceinline__ void issue_values() {
    const uint64_t v = Tile::descriptor(shared_.v(v_issue_.slot), Tile::kKeys);
    ptx::wgmma_fence();
#pragma unroll
    for (int c = 0; c < Tile::kKeys / 16; c++) {
      Wgmma16<Tile::kType, Tile::kD>::template rs<1>(output_, probabilities_ + 4 * c, v + c * Tile::kSwizzleBytes);
    }
    ptx::wgmma_commit_group();
  }

  __device__ __forceinline__ void wait_values() {
    ptx::mbarrier_wait(shared_.v_full(v_wait_.slot), v_wait_.parity);
    v_wait_.advance();
  }

  __device__ __forceinline__ void release(uint32_t barrier) const {
    if (lane_ == 0) ptx::mbarrier_arrive(barrier);
  }

  __device__ __forceinline__ void mask(int j) {
    const int keys = min(block_.kv_length - j * Tile::kKeys, kNotCausal);
    const int causal = row_ + params_.args.causal_offset + 1 - j * Tile::kKeys;
    const int end0 = min(keys, causal) - 2 * (lane_ % 4), end1 = min(keys, causal + 8) - 2 * (lane_ % 4);
#pragma unroll
    for (int i = 0; i < kScores; i++) {
      const int column = 8 * (i / 4) + i % 2;
      if (column >= (i % 4 < 2 ? end0 : end1)) scores_[i] = -kInfinity;
    }
  }

  // Raises the references to cover the scores; alpha = what the older terms are to be multiplied by.
  __device__ __forceinline__ void raise_references(float (&alpha)[2]) {
#pragma unroll
    for (int h = 0; h < 2; h++) {
      float x = fmaxf(scores_[2 * h], scores_[2 * h + 1]);
#pragma unroll
      for (int i = 4; i < kScores; i += 4) x = fmaxf(x, fmaxf(scores_[i + 2 * h], scores_[i + 2 * h + 1]));
      x = fmaxf(x, __shfl_xor_sync(kFullWarp, x, 1));
      x = fmaxf(x, __shfl_xor_sync(kFullWarp, x, 2)) * scale_;
      const float m = kLazyRescale ? (x > reference_[h] + kHeadroom ? x : reference_[h]) : fmaxf(reference_[h], x);
      alpha[h] = ptx::ex2_approx_ftz(reference_[h] - m);
      reference_[h] = m;
    }
  }

  // Scores become probabilities, in place.
  __device__ __forceinline__ void exponentiate(const float (&alpha)[2]) {
    float sum[2] = {0.f, 0.f};
#pragma unroll
    for (int i = 0; i < kScores; i++) {
      const int h = i % 4 / 2;
      scores_[i] = ptx::ex2_approx_ftz(fmaf(scores_[i], scale_, -reference_[h]));
      sum[h] += scores_[i];
    }
    sum_[0] = fmaf(sum_[0], alpha[0], sum[0]);
    sum_[1] = fmaf(sum_[1], alpha[1], sum[1]);
  }

  __device__ __forceinline__ void rescale(const float (&alpha)[2]) {
#pragma unroll
    for (int i = 0; i < kOutputs; i++) output_[i] *= alpha[i % 4 / 2];
  }

  __device__ __forceinline__ void pack() {
#pragma unroll
    for (int i = 0; i < kScores / 2; i++) {
      probabilities_[i] = Element<Tile::kType>::pack(scores_[2 * i], scores_[2 * i + 1]);
    }
  }

  // The softmax of a block's first tile, with no multiply in flight.
  __device__ __forceinline__ void first_softmax() {
    if (unmasked_tiles_ < tiles_) mask(tiles_ - 1);
    reference_[0] = reference_[1] = kLowest;
    sum_[0] = sum_[1] = 0.f;
#pragma unroll
    for (int i = 0; i < kOutputs; i++) output_[i] = 0.f;
    float alpha[2];
    raise_references(alpha);
    exponentiate(alpha);
    wait_values();
    pack();
  }

  // Scores of tile j and P*V of tile j + 1.
  template <bool kMasked>
  __device__ __forceinline__ void step(int j) {
    if constexpr (kPingPong) ptx::named_barrier_sync(1 + warpgroup_, 256);
    issue_scores();
    issue_values();
    if constexpr (kPingPong) ptx::named_barrier_arrive(1 + (warpgroup_ + 1) % Tile::kWarpgroups, 256);
    ptx::wgmma_wait_group<1>();
    ptx::wgmma_pin<kScores>(scores_);
    release(shared_.k_empty(k_.slot)), k_.advance();
    if constexpr (kMasked) mask(j);
    float alpha[2];
    raise_references(alpha);
    exponentiate(alpha);
    // This wait also holds the next one in its place: ptxas moves a wait for wgmma to the top of its basic block, above
    // the softmax, and the spin loop begins a new block.
    wait_values();
    ptx::wgmma_wait_group<0>();
    ptx::wgmma_pin<kOutputs>(output_);
    release(shared_.v_empty(v_issue_.slot)), v_issue_.advance();
    if constexpr (kLazyRescale) {
      if (__any_sync(kFullWarp, alpha[0] != 1.f || alpha[1] != 1.f)) rescale(alpha);
    } else {
      rescale(alpha);
    }
    pack();
  }

  // The last P*V of this block together with the first scores of the next.
  __device__ __forceinline__ void next_block(const WorkCursor& cursor) {
    const WorkBlock finished = block_;
    const int finished_row = row_;
    enter(WorkBlock::at<Tile::kRows, Tile::kKeys>(cursor, params_.args));
    if constexpr (kPingPong) ptx::named_barrier_sync(1 + warpgroup_, 256);
    issue_scores();
    issue_values();
    if constexpr (kPingPong) ptx::named_barrier_arrive(1 + (warpgroup_ + 1) % Tile::kWarpgroups, 256);
    ptx::wgmma_wait_group<0>();
    ptx::wgmma_pin<kScores>(scores_);
    ptx::wgmma_pin<kOutputs>(output_);
    release(shared_.k_empty(k_.slot)), k_.advance();
    release(shared_.v_empty(v_issue_.slot)), v_issue_.advance();
    store(finished, finished_row);
    first_softmax();
  }

  __device__ __forceinline__ void store() { store(block_, row_); }

  __device__ __forceinline__ void store(const WorkBlock& w, int row) {
    const AttentionArgs& args = params_.args;
    float inverse[2];
#pragma unroll
    for (int h = 0; h < 2; h++) {
      float sum = sum_[h];
      sum += __shfl_xor_sync(kFullWarp, sum, 1);
      sum += __shfl_xor_sync(kFullWarp, sum, 2);
      inverse[h] = sum == 0.f ? 0.f : 1.f / sum;
      if (args.lse != nullptr && lane_ % 4 == 0 && row + 8 * h < args.lq) {
        const int64_t head = static_cast<int64_t>(w.batch) * args.heads_q + w.head;
        args.lse[head * args.lq + row + 8 * h] =
            sum == 0.f ? -kInfinity : kLn2 * (reference_[h] + __log2f(sum));
      }
    }
    uint16_t* o = static_cast<uint16_t*>(args.o) + w.batch * args.o_stride.batch + w.head * args.o_stride.head +
                  row * args.o_stride.row;
#pragma unroll
    for (int h = 0; h < 2; h++) {
#pragma unroll
      for (int c = 0; c < Tile::kD / 8; c += 4) {
        uint32_t words[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const float* x = output_ + 4 * (c + i) + 2 * h;
          words[i] = Element<Tile::kType>::pack(x[0] * inverse[h], x[1] * inverse[h]);
        }
        transpose_quad(words);
        const int channel = 8 * (c + lane_ % 4);
        if (row + 8 * h < args.lq && channel < args.head_dim) {
          store8(o + 8 * h * args.o_stride.row + channel, words, args.head_dim - channel, args.vector_io);
        }
      }
    }
  }

  // words[i] of lane q of a quad becomes words[q] of lane i: each lane then holds 16 contiguous bytes.
  __device__ __forceinline__ void transpose_quad(uint32_t (&words)[4]) const {
#pragma unroll
    for (int bit = 1; bit <= 2; bit *= 2) {
      const bool upper = (lane_ & bit) != 0;
#pragma unroll
      for (int i = 0; i < 4; i++) {
        if (i & bit) continue;
        const uint32_t got = __shfl_xor_sync(kFullWarp, upper ? words[i] : words[i + bit], bit);
        words[i] = upper ? got : words[i];
        words[i + bit] = upper ? words[i + bit] : got;
      }
    }
  }

  static __device__ __forceinline__ void store8(uint16_t* target, const uint32_t (&words)[4], int channels, bool vector) {
    if (vector) {
      *reinterpret_cast<uint4*>(target) = make_uint4(words[0], words[1], words[2], words[3]);
    } else {
#pragma unroll
      for (int e = 0; e < 8; e++) {
        if (e < channels) target[e] = static_cast<uint16_t>(words[e / 2] >> (16 * (e % 2)));
      }
    }
  }

  const ExactParams& params_;
  const ExactShared<Tile>& shared_;
  const int warpgroup_, lane_;
  const float scale_;

  WorkBlock block_;
  int tiles_, unmasked_tiles_;
  int row_;  // this thread's first row; the second is row_ + 8
  RingIndex<Tile::kStages> k_, v_issue_, v_wait_;  // V is waited for one tile ahead of its multiply
  RingIndex<Tile::kQueryBuffers> q_;

  float scores_[kScores], output_[kOutputs];
  uint32_t probabilities_[kScores / 2];
  uint32_t queries_[kQueryRegisters ? Tile::kD / 4 : 1];
  float reference_[2], sum_[2];  // log2 units; the sums are this thread's share
};

}  // namespace attn4j
