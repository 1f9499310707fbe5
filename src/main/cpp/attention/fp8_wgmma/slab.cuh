// A consumer warpgroup of the Hopper kernel with few registers: 64 query rows against all keys of a work item. O lives
// in shared memory, in the warpgroup's slab, and a tile of keys is one score buffer. Nothing of a warpgroup overlaps
// with its own multiplies: the other warpgroups of the SM do.
#pragma once

#include "attention/fp8_wgmma/combine.cuh"
#include "attention/fp8_wgmma/item.cuh"
#include "attention/fp8_wgmma/softmax.cuh"
#include "attention/fp8_wgmma/store.cuh"
#include "device/ptx/mbarrier.cuh"
#include "device/ptx/ordering.cuh"
#include "device/ptx/shared_access.cuh"
#include "device/ptx/wgmma.cuh"
#include "device/ptx/wgmma_e4m3.cuh"
#include "device/ptx/wgmma_s8.cuh"

namespace attn4j {

template <class P>
struct SlabConsumer {
  static constexpr int kTile = P::kTile, kTiles = P::kKeys / P::kTile, kD = P::kHeadDim, kGroups = kTile / 32,
                       kPacks = kTile / 8;
  static constexpr int kScores = kTile / 2, kOut = P::kVRows / 2, kQSteps = kD / 32;

  // Registers.
  int32_t scores[kScores];
  uint32_t packed[kPacks];
  float part[kOut];  // P V since the last fold; the rest of O is in the slab
  uint32_t q[kQSteps][4];
  float reference[2];  // of rows r and r+8: p = 2^(score - reference), an integer
  float q_scale[2], k_scale[kGroups];
  // Positions.
  uint32_t smem;
  int lane, warp_row;           // the warp's first row in the item
  RingPosition<P::kStages> at;  // the stage whose P V comes next
  uint32_t round;               // items done: Q's buffer and parity
  int since_fold;               // stages, plus kFell
  static constexpr int kFell = 1 << 20;
  int group_limit;  // last key that the warpgroup's first row sees; only masks read it
  bool all_seen;    // listed keys: the stage masked last needed no mask
  WgmmaBarriers<P> barrier;

  __device__ __forceinline__ float (&sums())[kOut] { return part; }

  __device__ __forceinline__ void release(uint32_t empty) {
    if (lane < ptx::kArrivingLanes) ptx::mbarrier_arrive(empty);
  }

  // ------------------------------------------------------------------------------------------------ multiplies

  template <int kAt>
  __device__ __forceinline__ void issue_qk(uint32_t stage) {
    const uint64_t b =
        ptx::wgmma_descriptor(smem + P::Map::kKAt + stage * P::Map::kKBytes, 128, 8 * kD) + kAt * (kTile * kD / 16);
    ptx::WgmmaS8<kTile>::rs_first(scores, q[0], b);
#pragma unroll
    for (int k = 1; k < kQSteps; k++) ptx::WgmmaS8<kTile>::rs(scores, q[k], b + 16 * k);
    const uint32_t scales =
        smem + P::Map::kScaleAt + stage * P::Map::kScaleBytes + kAt * (kGroups * 16) + 4 * (lane & 3);
#pragma unroll
    for (int g = 0; g < kGroups; g++) k_scale[g] = ptx::load_shared(scales + 16 * g);
  }

  // `keeps`: 0 if `part` starts anew with the stage's first tile.
  template <int kAt>
  __device__ __forceinline__ void issue_pv(uint32_t stage, int keeps) {
    const uint64_t b =
        ptx::wgmma_descriptor(smem + P::Map::kVAt + stage * P::Map::kVBytes, 128, 256) + kAt * (kTile * P::kVRows / 16);
    if constexpr (kAt == 0) {
      ptx::WgmmaE4m3<P::kVRows>::rs_if(part, packed, b, keeps);
    } else {
      ptx::WgmmaE4m3<P::kVRows>::rs(part, packed, b);
    }
#pragma unroll
    for (int g = 1; g < kGroups; g++) ptx::WgmmaE4m3<P::kVRows>::rs(part, packed + 4 * g, b + g * (2 * P::kVRows));
  }

  // ------------------------------------------------------------------------------------------------ softmax

  // Probabilities of scores. Not 0 if one may exceed e4m3, where the caller hasn't made sure; with kFalls also if a
  // row's lie so low that it may do with a lower reference.
  template <bool kMask, bool kFalls = false>
  __device__ __forceinline__ uint32_t exponentiate(const int32_t (&scores)[kScores]) {
    uint32_t codes = 0;
#pragma unroll
    for (int i = 0; i < kPacks; i++) {
      const int x = i & 3;
      const int32_t* s = scores + 16 * (i >> 2) + 8 * (x >> 1) + 2 * (x & 1);
      float scale = q_scale[x & 1] * k_scale[i >> 2];
      if constexpr (kMask) scale = ptx::max_nan(scale, kMinScale);
      const float ref = reference[x & 1];
      const float y[4] = {__int2float_rn(s[0]), __int2float_rn(s[1]), __int2float_rn(s[4]), __int2float_rn(s[5])};
      float e[4];
#pragma unroll
      for (int n = 0; n < 4; n++) e[n] = ptx::ex2_approx_ftz(fmaf(y[n], scale, -ref));
      packed[i] = ptx::pack_e4m3x4(e[0], e[1], e[2], e[3]);
      codes |= packed[i] + 0x02020202u;  // the codes 0x7e (448) and 0x7f (NaN) become negative
    }
    codes &= 0x80808080u;
    // Codes below 0x20 are probabilities below 2^-3. Half of the keys will do to ask: `move` looks at all.
    constexpr int kFrom = kPacks / 2;
    static_assert(kPacks == 8);
    if constexpr (kFalls) {
      codes |= ((packed[kFrom] | packed[kFrom + 2]) & 0x60606060u) == 0 ||
               ((packed[kFrom + 1] | packed[kFrom + 3]) & 0x60606060u) == 0;
    }
    return codes;
  }

  __device__ __forceinline__ uint32_t item_address() const { return smem + P::Map::kItemAt + 32 * (round & 1); }

  // Sets the scores of keys beyond a row's limit to minus infinity.
  template <int kAt>
  __device__ __forceinline__ void mask(int32_t (&scores)[kScores], int first_key) {
    const int limit = group_limit + (warp_row & 63);
    if constexpr (P::kListed) {
      static_assert(kTile == P::kBlockKeys);
      first_key = ptx::load_shared_int(smem + P::Map::kBlockAt + P::Map::kBlockBytes * at.stage + 4 * kAt);
      // The list ascends, and padding ends it: the stage's last block decides, for the four warps of the group alike.
      if constexpr (kAt == kTiles - 1)
        all_seen = __any_sync(kFullWarp, first_key <= limit - (warp_row & 63) - (kTile - 1));
      if (first_key == P::kNoBlock) first_key = limit + 64;
    }
    if (first_key + kTile - 1 <= limit) return;
    mask_scores<0, kScores>(scores, limit - first_key + (lane >> 2) - 2 * (lane & 3));
  }

  // A thread's 16-byte pieces of the slab lie 2048 bytes apart; behind all pieces its two factors, and its rows'
  // highest references.
  __device__ __forceinline__ uint32_t slab(uint32_t bytes) const {
    const uint32_t thread = ptx::thread_index() - 128;
    return smem + P::kSlabAt + thread / 128 % P::kConsumers * P::kSlabBytes + thread % 128 * bytes;
  }
  __device__ __forceinline__ uint32_t slab_pieces() const { return slab(16); }
  __device__ __forceinline__ uint32_t slab_factors() const { return slab(8) + kOut * 512; }
  __device__ __forceinline__ uint32_t highest_references() const { return slab_factors() + 1024; }

  enum Moved : uint32_t { kStay = 0, kRise = 1, kFall = 2 };  // bits: of the rows of a warp

  // Raises the references so that no probability exceeds e4m3. With kFalls it also lowers those that are more than
  // kSink above all of a row's keys, unless the keys are negligible beside what the row has seen. References are
  // integers and factors powers of two. Returns what happened in the warp; O's factor is done, `factor` is what remains
  // to be applied to `part`. What a row gets must not depend on whether its tile is masked: lists with padding mask a
  // stage that dense attention doesn't.
  template <bool kFalls>
  __device__ __forceinline__ uint32_t move(const float (&y)[2], float (&factor)[2]) {
    uint32_t moved = kStay;
#pragma unroll
    for (int r = 0; r < 2; r++) {
      const float top = quad_max(y[r]), highest = ptx::load_shared(highest_references() + 4 * r);
      const bool first = reference[r] == kNoKeyYet && top > -kInfinity;
      const bool falls = kFalls && !first && top < reference[r] - P::kSink &&
                         top > highest + ptx::load_shared(item_address() + P::Map::kNegligibleAt);
      const bool moves = first || falls || top > reference[r] + kMaxExponent;
      const float headroom = first ? P::kFirstHeadroom : P::kHeadroom;
      const float to = moves ? ceilf(top - kMaxExponent + headroom) : reference[r];
      factor[r] = first ? 0.f : ptx::ex2_approx_ftz(reference[r] - to);
      if (moves) ptx::store_shared(highest_references() + 4 * r, fmaxf(highest, to));
      reference[r] = to;
      moved |= falls ? kFall : moves ? kRise : kStay;
    }
    const uint32_t factors = slab_factors();
    const float2 old = ptx::load_shared2(factors);
    ptx::store_shared2(factors, make_float2(old.x * factor[0], old.y * factor[1]));
    return __reduce_or_sync(kFullWarp, moved);
  }

  __device__ __forceinline__ void rescale(const float (&factor)[2]) {
#pragma unroll
    for (int i = 0; i < kOut; i++) part[i] *= factor[i >> 1 & 1];
  }

  // ------------------------------------------------------------------------------------------------ O in the slab

  __device__ __forceinline__ void clear_slab() {
    const uint32_t at = slab_pieces();
#pragma unroll
    for (int i = 0; i < kOut / 4; i++) ptx::store_shared4(at + 2048 * i, make_float4(0.f, 0.f, 0.f, 0.f));
    ptx::store_shared2(slab_factors(), make_float2(1.f, 1.f));
    ptx::store_shared2(highest_references(), make_float2(-kInfinity, -kInfinity));
  }

  // part += O * factor
  __device__ __forceinline__ void take_slab() {
    const float2 f = ptx::load_shared2(slab_factors());
    const uint32_t at = slab_pieces();
#pragma unroll
    for (int i = 0; i < kOut / 4; i++) {
      if (i > 0 && i % 3 == 0) __syncwarp();  // few registers: not all loads at once
      const float4 o = ptx::load_shared4(at + 2048 * i);
      part[4 * i] = fmaf(o.x, f.x, part[4 * i]);
      part[4 * i + 1] = fmaf(o.y, f.x, part[4 * i + 1]);
      part[4 * i + 2] = fmaf(o.z, f.y, part[4 * i + 2]);
      part[4 * i + 3] = fmaf(o.w, f.y, part[4 * i + 3]);
    }
  }

  __device__ __forceinline__ void fold() {
    take_slab();
    const uint32_t at = slab_pieces();
#pragma unroll
    for (int i = 0; i < kOut / 4; i++) {
      ptx::store_shared4(at + 2048 * i, make_float4(part[4 * i], part[4 * i + 1], part[4 * i + 2], part[4 * i + 3]));
    }
    ptx::store_shared2(slab_factors(), make_float2(1.f, 1.f));
  }

  // Returns 0 if `part` is to start anew. Stages that were left out count: folds come after the same stages. A warp
  // whose references fell (kFell) folds besides: beside what `part` holds by then, keys that weigh less would be lost
  // in its few bits. The multiply that follows must be the same for all warps of the group: it starts from zeros.
  __device__ __forceinline__ int fold_if_due() {
    if (since_fold < P::kFoldStages) return since_fold;
    fold();
    if (since_fold >= kFell) {
#pragma unroll
      for (int i = 0; i < kOut; i++) part[i] = 0.f;
      const int stages = since_fold - kFell;
      since_fold = stages % P::kFoldStages;
      return stages < P::kFoldStages ? stages : 0;
    }
    since_fold %= P::kFoldStages;
    return 0;
  }

  // ------------------------------------------------------------------------------------------------ items

  // A core matrix of Q (8 rows of 16 bytes) is a quarter of an A operand, lane by lane.
  __device__ __forceinline__ void load_q(uint32_t r) {
    const uint32_t base = smem + P::Map::kQAt + (r & 1) * P::Map::kQBytes + warp_row * kD + 4 * lane;
#pragma unroll
    for (int k = 0; k < kQSteps; k++) {
#pragma unroll
      for (int i = 0; i < 4; i++) q[k][i] = ptx::load_shared_int(base + (i & 1) * (8 * kD) + (2 * k + (i >> 1)) * 128);
    }
  }

  // Stages of the item of round r; -1: no more items. The shuffle tells the compiler that all lanes have the same
  // answer.
  __device__ __forceinline__ int stages_of(uint32_t r) {
    ptx::mbarrier_wait(barrier.q_full(r & 1), r >> 1 & 1);
    return __shfl_sync(kFullWarp, ptx::load_shared_int(smem + P::Map::kItemAt + 32 * (r & 1) + 4), 0);
  }

  // Makes the first scores of the item of round r possible.
  __device__ __forceinline__ void open(uint32_t r, const RingPosition<P::kStages>& stage) {
    load_q(r);
    ptx::mbarrier_wait(barrier.k_full(stage.stage), stage.parity);
  }

  // First scores of an item, where no item before could start them.
  __device__ __forceinline__ void start(int stages) {
    if (stages > 0) open(round, at);
    scores_of_first_tile();  // without keys it multiplies whatever is there, and nobody looks
  }

  __device__ __forceinline__ void scores_of_first_tile() {
    ptx::wgmma_fence();
    issue_qk<0>(at.stage);
    ptx::wgmma_commit_group();
    ptx::wgmma_wait_group<0>();
    ptx::wgmma_pin<kScores>(scores);
  }

  // Probabilities of the current scores, with references that bound them. A reference falls only at the start of a
  // stage. Returns whether one did in this warp.
  template <int kAt, bool kMask>
  __device__ __forceinline__ bool softmax(int first_key) {
    constexpr bool kFalls = kAt == 0;
    float y[2], factor[2];
    uint32_t moved;
    if constexpr (kMask) {
      int32_t masked[kScores];
#pragma unroll
      for (int i = 0; i < kScores; i++) masked[i] = scores[i];
      mask<kAt>(masked, first_key);
      largest_scores<true>(masked, q_scale, k_scale, y);
      moved = move<kFalls>(y, factor);
      rescale(factor);
      exponentiate<true>(masked);
    } else {
      // Most of the time the references of before will do: whether a probability saturated is seen afterwards.
      if (!__any_sync(kFullWarp, exponentiate<false, kFalls>(scores))) return false;
      // Nothing computed above is worth a register until here: as far as the compiler knows, these are new scores.
      const int nothing = ptx::load_shared_int(item_address() + 4) >> 31;
      int32_t again[kScores];
#pragma unroll
      for (int i = 0; i < kScores; i++) again[i] = scores[i] ^ nothing;
      largest_scores<false>(again, q_scale, k_scale, y);
      moved = move<kFalls>(y, factor);
      if (moved == kStay) return false;
      exponentiate<false>(again);
      rescale(factor);
    }
    return kFalls && moved >= kFall;
  }

  // One tile of stage j, nothing in flight before and after it. At entry and exit scores are complete: the tile's, the
  // next one's.
  template <int kAt, bool kMask>
  __device__ __forceinline__ void step(int j) {
    if constexpr (P::kRandomDelay) random_delay();
    if (softmax<kAt, kMask>(j * P::kKeys + kAt * kTile)) since_fold += kFell;
    int keeps = 1;
    if constexpr (kAt == 0) keeps = fold_if_due();
    multiply<kAt, true>(j, keeps);
  }

  // The next tile's scores and the current tile's P V.
  template <int kAt, bool kAdds>
  __device__ __forceinline__ void multiply(int j, int keeps) {
    constexpr bool kEnds = kAt == kTiles - 1;
    RingPosition<P::kStages> next = at;
    if constexpr (kEnds) {
      next.advance();
      __syncwarp();  // all lanes have read their scales of the stage before one of them gives it back
      if (j > 0) {
        ptx::mbarrier_wait(barrier.k_full(next.stage), next.parity);
      } else if (stages_of(round + 1) > 0) {
        open(round + 1, next);
      }
    }
    ptx::wgmma_fence();
    issue_qk<kEnds ? 0 : kAt + 1>(next.stage);
    if constexpr (kAdds) issue_pv<kAt>(at.stage, keeps);
    ptx::wgmma_commit_group();
    ptx::wgmma_wait_group<0>();
    ptx::wgmma_pin<kScores>(scores);
    if constexpr (kAdds) ptx::wgmma_pin<kOut>(part);
    if constexpr (kEnds) {
      release(barrier.k_empty(at.stage));
      at = next;
      since_fold++;
    }
  }

  template <bool kMask>
  __device__ __forceinline__ void stage(int j) {
    step<0, kMask>(j);
    if constexpr (kTiles == 2) step<kTiles - 1, kMask>(j);
    static_assert(kTiles <= 2);
  }

  // Far below a row's maximum all probabilities round to zero in e4m3, and no reference is lowered for them: to leave
  // such keys out changes no bit. The loop over stages looks up now and then, and leaves out the stages before j while
  // they add nothing to any row of the warpgroup. Returns how far it came.
  __device__ __forceinline__ int leave_out(int j) {
#pragma unroll 1
    while (j >= 0 && !tile_adds()) {
      multiply<0, false>(j, 0);
      if (tile_adds()) {
        scores_of_first_tile();
        break;
      }
      multiply<kTiles - 1, false>(j, 0);
      j--;
    }
    return j;
  }

  // Whether the current scores may add something to a row of the warpgroup.
  __device__ __forceinline__ bool tile_adds() const {
    float y[2];
    largest_scores<false>(scores, q_scale, k_scale, y);
    const float2 highest = ptx::load_shared2(highest_references());
    const float negligible = ptx::load_shared(item_address() + P::Map::kNegligibleAt);
    return warpgroup_any(meets_nonfinite_values<P>(smem, round) || may_lower(y, highest, negligible) ||
                         may_add(y, reference));
  }

  // All keys of an item, then, if possible, the first scores of the next one. On return `part` holds the sums, with the
  // normalisers in the ones column.
  __device__ __forceinline__ void attend(int stages) {
    const uint32_t scales =
        smem + P::Map::kQScaleAt + (round & 1) * P::Map::kQScaleBytes + 4 * (warp_row + (lane >> 2));
    q_scale[0] = ptx::load_shared(scales);
    q_scale[1] = ptx::load_shared(scales + 32);
    reference[0] = reference[1] = kNoKeyYet;
    since_fold = 0;
    clear_slab();
    // Keys are taken from the last to the first: what a causal mask touches comes first. The four warps of the group
    // must run the same multiplies, so they change loops together. One masked stage more than the mask touches: from
    // then on every row has seen a key.
    group_limit = ptx::load_shared_int(item_address()) + (warp_row & 64);
    int j = stages - 1;
    const auto touched = [&] { return P::kListed ? !all_seen : (j + 2) * P::kKeys - 1 > group_limit; };
#pragma unroll 1
    do {
      stage<true>(j);
      j--;
    } while (j >= 0 && touched());
    int next_look = P::kLooks ? j / P::kLookEvery * P::kLookEvery : 0;
#pragma unroll 1
    while (j >= 0) {
#pragma unroll 1
      do {
        stage<false>(j);
        j--;
      } while (j >= next_look);
      if constexpr (P::kLooks) {
        const int before = j;
        j = leave_out(j);
        next_look = max(j == before ? j - P::kLookEvery : j, 0);  // after some success, again behind the next stage
      }
    }
    take_slab();
  }
};

template <class P, DType T>
__device__ __forceinline__ void slab_consume(const WgmmaParams& p, unsigned char* shared, int warpgroup) {
  const uint32_t smem = ptx::shared_address(shared);
  const WgmmaBarriers<P> barrier{smem + P::Map::kBarrierAt};
  const auto* items = reinterpret_cast<const volatile WgmmaItem*>(shared + P::Map::kItemAt);
  SlabConsumer<P> c;
  c.smem = smem;
  c.barrier = barrier;
  c.round = 0;
  c.lane = threadIdx.x & 31;
  c.warp_row = warpgroup * 64 + __shfl_sync(kFullWarp, threadIdx.x >> 5 & 3, 0) * 16;
  WgmmaSuspects<P, T>(smem, c.warp_row).clear();
  int stages = c.stages_of(0);
  c.start(stages);
  while (stages >= 0) {
    const bool attends = stages > 0;
    if (attends) {
      c.attend(stages);
    } else {
#pragma unroll
      for (int i = 0; i < P::kVRows / 2; i++) c.part[i] = 0.f;
    }
    const uint32_t done = c.round & 1;
    const int partial = items[done].partial;
    if (partial < 0 || wgmma_combine<P>(p, partial, c)) {
      WgmmaItem item;  // only now: there is no register for it before
      item.batch = items[done].batch, item.head = items[done].head, item.first_row = items[done].first_row;
      const float* v_scale = reinterpret_cast<const float*>(shared + P::Map::kVScaleAt + done * P::Map::kVScaleBytes);
      if (!wgmma_store<P, T>(p, item, v_scale, c)) WgmmaSuspects<P, T>(smem, c.warp_row).note(p, item);
    }
    __syncwarp();  // all lanes have read the scales before one of them gives the buffer back
    c.release(barrier.q_empty(done));
    c.round++;
    stages = c.stages_of(c.round);
    if (!attends || stages <= 0) c.start(stages);
  }
  WgmmaSuspects<P, T>(smem, c.warp_row).repair(p, c.warp_row);
}

}  // namespace attn4j
