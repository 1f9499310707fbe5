// A consumer warpgroup of the Hopper kernels with 16-bit V: softmax and output of 64 query rows. How scores are made is
// a policy, Tile::Scores.
#pragma once

#include "attention/f16_wgmma/exact_scores.cuh"
#include "attention/nonfinite.cuh"

namespace attn4j {

// Whether a consumer looks at its outputs for what isn't finite (nonfinite.cuh).
enum class Outputs { kTaken, kLookedAt };

template <class Tile, Outputs kOutputsAre>
class TileConsumer {
 public:
  __device__ __forceinline__ TileConsumer(const ExactParams& params, const TileShared<Tile>& shared)
      : params_(params),
        shared_(shared),
        warpgroup_(threadIdx.x / 128 - 1),
        lane_(threadIdx.x % 32),
        scores_(params, shared) {}

  // One flat walk over the tiles of all query blocks of this CTA. Two multiplies are in flight at a time: the scores of
  // a tile, and P*V of the tile before it, which may belong to the query block before.
  __device__ __forceinline__ void run() {
    if constexpr (kLooks) {
      if (lane_ == 0) *suspects() = 0;
    }
    if (warpgroup_ == Tile::kWarpgroups - 1) ptx::named_barrier_arrive(kFirstToken, kTokenThreads);
    WorkCursor cursor(params_.plan);
    acquire_queries();
    issue_scores();
    if constexpr (Tile::kQueriesInRegisters) release_queries();
    enter_block(cursor);
    ptx::wgmma_wait_group<0>();
    scores_.complete(tile_.slot);
    if constexpr (!Tile::Scores::kReadsStage) release(shared_.k_empty(tile_.slot));
    first_softmax();
    if constexpr (Tile::Scores::kReadsStage) release(shared_.k_empty(tile_.slot));
    wait_values();
    tile_.advance();
    clear_output();
    pack();
    for (;;) {
      int j = block_.tiles - 2;
#pragma unroll 1
      for (; j >= unmasked_tiles_; j--) step<true>(j);
#pragma unroll 1
      for (; j >= 0; j--) step<false>(j);
      cursor.advance();
      if (!cursor.valid()) break;
      next_block(cursor);
    }
    issue_values();
    const Finished finished = finish();
    ptx::wgmma_wait_group<0>();
    ptx::wgmma_pin<kOutputs>(output_);
    store(finished);
    if (warpgroup_ == 0) ptx::named_barrier_sync(kFirstToken, kTokenThreads);  // the token nobody waits for any more
    if constexpr (kLooks) {
      __syncwarp();
      if (*suspects() != 0) repair();
    }
  }

 private:
  static constexpr bool kLooks = kOutputsAre == Outputs::kLookedAt;
  static constexpr int kOutputs = Tile::kD / 2;  // accumulator registers
  // The token that lets warpgroups issue their multiplies in turns travels over one hardware barrier per warpgroup.
  static constexpr int kFirstToken = 1, kTokenThreads = 256;
  // A row's reference follows its maximum only when that has grown by this much (log2): probabilities up to 2^8 lose
  // nothing in 16 or 32 bits, and the accumulator is rarely multiplied.
  static constexpr float kHeadroom = 8.f;
  // Below every scaled score, and finite: a row that has seen no key needs no special case.
  static constexpr float kLowest = -1e30f;

  // A block whose softmax is complete, to be stored once its last P*V is.
  struct Finished {
    int flat_head, row;  // row_ of the block
    float sum[2], reference[2];
  };

  // ------------------------------------------------------------------------------------------------ blocks and queries

  __device__ __forceinline__ void enter_block(const WorkCursor& cursor) {
    block_ = WorkBlock::at<Tile>(cursor, params_.args);
    const int warpgroup_row = block_.first_row + warpgroup_ * 64;
    row_ = warpgroup_row + threadIdx.x % 128 / 32 * 16 + lane_ / 4;
    unmasked_tiles_ = max(0, min(block_.kv_length, warpgroup_row + params_.args.causal_offset + 1)) / Tile::kKeys;
    scores_.enter_block(block_, row_);
  }

  __device__ __forceinline__ void acquire_queries() {
    ptx::mbarrier_wait(shared_.q_full(q_.slot), q_.parity);
    scores_.prepare_queries(q_.slot);
  }

  // Nothing reads the Q buffer any more. Where Q goes to registers, that is so once a multiply has taken them, as in
  // `wait_output`.
  __device__ __forceinline__ void release_queries() {
    release(shared_.q_empty(q_.slot));
    q_.advance();
  }

  // -------------------------------------------------------------------------------------------------------- multiplies

  __device__ __forceinline__ void issue_scores() {
    ptx::mbarrier_wait(shared_.k_full(tile_.slot), tile_.parity);
    scores_.issue(q_.slot, tile_.slot);
  }

  // O += P * V for the tile whose probabilities are packed; its V has been waited for.
  __device__ __forceinline__ void issue_values() {
    const uint64_t v = Tile::box_descriptor(shared_.v(values_slot()), Tile::kKeys);
    ptx::wgmma_fence();
#pragma unroll
    for (int c = 0; c < Tile::kKeys / 16; c++) {
      // 16 keys are two 8-row groups of the swizzle: 16 * kSwizzleBytes, in units of 16 bytes.
      Tile::template Mma<Tile::kD>::template rs<1>(output_, probabilities_ + 4 * c, v + c * Tile::kSwizzleBytes);
    }
    ptx::wgmma_commit_group();
  }

  // Scores of one tile and P*V of the tile before it. Warpgroups take turns, so that one's softmax runs under another's
  // multiplies (FlashAttention-3, section 3.1).
  __device__ __forceinline__ void issue_scores_and_values() {
    ptx::named_barrier_sync(kFirstToken + warpgroup_, kTokenThreads);
    issue_scores();
    issue_values();
    ptx::named_barrier_arrive(kFirstToken + (warpgroup_ + 1) % Tile::kWarpgroups, kTokenThreads);
  }

  // Waits for the scores; P*V may go on.
  __device__ __forceinline__ void wait_scores() {
    ptx::wgmma_wait_group<1>();
    scores_.complete(tile_.slot);
    if constexpr (!Tile::Scores::kReadsStage) release(shared_.k_empty(tile_.slot));
  }

  __device__ __forceinline__ void wait_values() { ptx::mbarrier_wait(shared_.v_full(tile_.slot), tile_.parity); }

  // Where the tile before the one being scored lies: the one whose P*V is in flight or next.
  __device__ __forceinline__ int values_slot() const { return tile_.slot == 0 ? Tile::kStages - 1 : tile_.slot - 1; }

  // Waits for P*V. The softmax should run before, while P*V does. The wait for the next V tile, a spin loop, begins a
  // basic block: ptxas moves a wait for wgmma to the top of its block, which would otherwise be above the softmax.
  __device__ __forceinline__ void wait_output() {
    wait_values();
    ptx::wgmma_wait_group<0>();
    ptx::wgmma_pin<kOutputs>(output_);
    release(shared_.v_empty(values_slot()));
    // What was read of the stage has been used by now, in the maxima: an arrival may overtake loads that are still on
    // their way, and the copy engine doesn't wait for them (docs/lab/hopper.md, "The race of the prototype").
    if constexpr (Tile::Scores::kReadsStage) release(shared_.k_empty(tile_.slot));
    tile_.advance();
  }

  __device__ __forceinline__ void release(uint32_t barrier) const {
    if (lane_ < ptx::kArrivingLanes) ptx::mbarrier_arrive(barrier);
  }

  // ----------------------------------------------------------------------------------------------------------- softmax

  __device__ __forceinline__ void mask(int j) {
    const int keys = block_.kv_length - j * Tile::kKeys - 2 * (lane_ % 4);
    const int causal = row_ + params_.args.causal_offset + 1 - j * Tile::kKeys - 2 * (lane_ % 4);
    scores_.mask({min(keys, causal), min(keys, causal + 8)});
  }

  // Raises the references to cover the scores; alpha = what older terms are to be multiplied by.
  __device__ __forceinline__ void raise_references(float (&alpha)[2]) {
#pragma unroll
    for (int h = 0; h < 2; h++) {
      float x = scores_.maximum(h);
      x = fmaxf(x, __shfl_xor_sync(kFullWarp, x, 1));
      x = fmaxf(x, __shfl_xor_sync(kFullWarp, x, 2));
      const float raised = x > reference_[h] + kHeadroom ? x : reference_[h];
      alpha[h] = ptx::ex2_approx_ftz(reference_[h] - raised);
      reference_[h] = raised;
    }
  }

  template <bool kMasked>
  __device__ __forceinline__ void exponentiate(const float (&alpha)[2]) {
    float sum[2];
    scores_.template exponentiate<kMasked>(reference_, sum);
#pragma unroll
    for (int h = 0; h < 2; h++) sum_[h] = fmaf(sum_[h], alpha[h], sum[h]);
  }

  // Of a block's first tile.
  __device__ __forceinline__ void first_softmax() {
    if (unmasked_tiles_ < block_.tiles) mask(block_.tiles - 1);
    float alpha[2];
    reference_[0] = reference_[1] = kLowest;
    sum_[0] = sum_[1] = 0.f;
    raise_references(alpha);
    exponentiate<true>(alpha);
  }

  __device__ __forceinline__ void pack() {
#pragma unroll
    for (int i = 0; i < Tile::kKeys / 4; i++) {
      probabilities_[i] = Element<Tile::kType>::pack(scores_.probability(2 * i), scores_.probability(2 * i + 1));
    }
  }

  // ------------------------------------------------------------------------------------------------------------- steps

  // Scores and softmax of tile j, P*V of tile j + 1.
  template <bool kMasked>
  __device__ __forceinline__ void step(int j) {
    issue_scores_and_values();
    wait_scores();
    if constexpr (kMasked) mask(j);
    float alpha[2];
    raise_references(alpha);
    exponentiate<kMasked>(alpha);
    if constexpr (Tile::kHoldSoftmax) ptx::finish_first(sum_[0] + sum_[1], shared_.q(0));
    wait_output();
    if (__any_sync(kFullWarp, alpha[0] != 1.f || alpha[1] != 1.f)) {
#pragma unroll
      for (int i = 0; i < kOutputs; i++) output_[i] *= alpha[i % 4 / 2];
    }
    pack();
  }

  // The same across the boundary of two blocks: softmax of the next one's first tile, P*V of this one's last.
  __device__ __forceinline__ void next_block(const WorkCursor& cursor) {
    if constexpr (!Tile::kQueriesInRegisters) release_queries();
    acquire_queries();
    issue_scores_and_values();
    if constexpr (Tile::kQueriesInRegisters) release_queries();
    const Finished finished = finish();
    enter_block(cursor);
    wait_scores();
    first_softmax();
    wait_output();
    store(finished);
    clear_output();
    pack();
  }

  __device__ __forceinline__ void clear_output() {
#pragma unroll
    for (int i = 0; i < kOutputs; i++) output_[i] = 0.f;
  }

  // ------------------------------------------------------------------------------------------------------------ output

  __device__ __forceinline__ Finished finish() const {
    return {block_.flat_head, row_, {sum_[0], sum_[1]}, {reference_[0], reference_[1]}};
  }

  // Sums over the quad and pointers are made here, not before: the exponentials of the next block run beside them,
  // which measured up to 4 % faster on short sequences.
  __device__ __forceinline__ void store(const Finished& f) const {
    const AttentionArgs& args = params_.args;
    const int batch = f.flat_head / args.heads_q, head = f.flat_head - batch * args.heads_q;
    uint16_t* o = static_cast<uint16_t*>(args.o) + batch * args.o_stride.batch + head * args.o_stride.head +
                  f.row * args.o_stride.row;
    uint32_t zeros = 0;  // times everything that is written, where scores share scales
#pragma unroll
    for (int h = 0; h < 2; h++) {
      float sum = f.sum[h];  // this thread's share
      sum += __shfl_xor_sync(kFullWarp, sum, 1);
      sum += __shfl_xor_sync(kFullWarp, sum, 2);
      const int row = f.row + 8 * h;
      if (args.lse != nullptr && lane_ % 4 == 0 && row < args.lq) {
        args.lse[static_cast<int64_t>(f.flat_head) * args.lq + row] =
            sum == 0.f ? -kInfinity : kLn2 * (f.reference[h] + __log2f(sum) + scores_.lse_correction(f.flat_head, row));
      }
      store_row(o + 8 * h * args.o_stride.row, row < args.lq, h, sum == 0.f ? 0.f : __fdividef(1.f, sum), zeros);
    }
    if constexpr (kLooks) note_suspects(zeros);
  }

  __device__ __forceinline__ void store_row(uint16_t* target, bool valid, int h, float factor, uint32_t& zeros) const {
#pragma unroll
    for (int c = 0; c < Tile::kD / 8; c += 4) {
      uint32_t words[4];
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const float* x = output_ + 4 * (c + i) + 2 * h;
        words[i] = Element<Tile::kType>::pack(x[0] * factor, x[1] * factor);
        if constexpr (Tile::kSharesScales) zeros = Element<Tile::kType>::fma2_zero(words[i], zeros);
      }
      transpose_quad(words);
      const int channel = 8 * (c + lane_ % 4);
      if (valid && channel < params_.args.head_dim) {
        *reinterpret_cast<uint4*>(target + channel) = make_uint4(words[0], words[1], words[2], words[3]);
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

  // -------------------------------------------------------------------------------- what isn't finite (nonfinite.cuh)

  // Of this warp: whether one of its rows was not finite.
  __device__ __forceinline__ uint32_t* suspects() const {
    return shared_.template pointer<uint32_t>(shared_.suspects() + 4 * (threadIdx.x / 32 - 4));
  }

  __device__ __forceinline__ void note_suspects(uint32_t zeros) const {
    bool finite = (zeros & 0x7fff7fffu) == 0;
    if constexpr (!Tile::kSharesScales) {
      float part[2] = {0.f, 0.f};  // two chains of additions
#pragma unroll
      for (int i = 0; i < kOutputs; i++) part[i % 2] += output_[i];
      finite = fabsf(part[0] + part[1]) < kInfinity;
    }
    if (!__all_sync(kFullWarp, finite) && lane_ == 0) *suspects() = 1;
  }

  // This warp's rows of all blocks that aren't finite, again.
  __device__ __forceinline__ void repair() const {
#pragma unroll 1
    for (WorkCursor cursor(params_.plan); cursor.valid(); cursor.advance()) {
      int flat_head, block;
      cursor.locate(flat_head, block);
      const int first = block * Tile::kRows + warpgroup_ * 64 + threadIdx.x % 128 / 32 * 16;
      repair_rows<Tile::kType, Tile::kD>(params_.args, {flat_head, first, 16});
    }
  }

  const ExactParams& params_;
  const TileShared<Tile>& shared_;
  const int warpgroup_, lane_;

  WorkBlock block_;
  int unmasked_tiles_;             // leading key tiles that every row of this warpgroup sees whole
  int row_;                        // this thread's first row; the second is row_ + 8
  RingIndex<Tile::kStages> tile_;  // of the tile that is being scored; K and V of a tile have the same place
  RingIndex<Tile::kQueryBuffers> q_;

  typename Tile::Scores scores_;
  float output_[kOutputs];                   // register 4n + 2h + e: row row_ + 8h, channel 8n + 2 * (lane % 4) + e
  uint32_t probabilities_[Tile::kKeys / 4];  // A fragments
  float reference_[2], sum_[2];              // log2 units; the sums are this thread's share
};

}  // namespace attn4j
