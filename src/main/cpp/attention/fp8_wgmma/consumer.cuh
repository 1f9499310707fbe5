// One consumer warpgroup of the Hopper kernel: 64 query rows against all keys of a work item.
#pragma once

#include "attention/fp8_wgmma/item.cuh"
#include "attention/fp8_wgmma/softmax.cuh"
#include "device/ptx/mbarrier.cuh"
#include "device/ptx/shared_access.cuh"
#include "device/ptx/wgmma.cuh"
#include "device/ptx/wgmma_e4m3.cuh"
#include "device/ptx/wgmma_s8.cuh"

namespace attn4j {

template <class P>
struct WgmmaConsumer {
  static constexpr int kHalf = P::kHalf, kD = P::kHeadDim, kGroups = kHalf / 32, kPacks = kHalf / 8;
  static constexpr int kScores = kHalf / 2, kOut = P::kVRows / 2;

  static constexpr int kEarly = P::kEarlyPacks;

  // Registers.
  int32_t scores[2][kScores];
  // Packed probabilities. Those made before the wait have registers per buffer, because a multiply still reads the
  // other buffer's; the later ones share theirs.
  uint32_t p_early[2][kEarly], p_late[kPacks - kEarly];
  template <int kBuffer>
  __device__ __forceinline__ uint32_t& packed(int i) {
    return i < kEarly ? p_early[kBuffer][i] : p_late[i - kEarly];
  }
  float out[kOut], part[kOut];  // O, and the P V of the keys since the last fold
  float reference[2];           // of rows r and r+8: p = 2^(score - reference), an integer
  float factor[2];              // what O is due for references raised since: 2^(old - new), 1 mostly
  float q_scale[2];
  float k_scale[2][kGroups];
  // Positions.
  uint32_t smem;
  int lane;
  RingPosition<P::kStages> k_at, v_at;
  uint32_t k_ready;  // an early look at the barrier of K's next stage
  uint32_t round;    // items done: Q's buffer and parity
  int warp_row;      // the warp's first row in the CTA's tile
  bool all_seen;     // listed keys: the stage whose second half was masked last needs no mask
  bool adds;         // with kSkips: the half that comes next adds something to the warp's rows
  WgmmaBarriers<P> barrier;

  __device__ __forceinline__ float (&sums())[kOut] { return out; }

  __device__ __forceinline__ void release(uint32_t empty) {
    if (lane < ptx::kArrivingLanes) ptx::mbarrier_arrive(empty);
  }

  // ------------------------------------------------------------------------------------------------ multiplies

  template <int kBuffer>
  __device__ __forceinline__ void issue_qk(uint32_t q_address) {
    const uint64_t a = ptx::wgmma_descriptor(q_address, 128, 8 * kD);
    const uint64_t b = ptx::wgmma_descriptor(smem + P::Map::kKAt + k_at.stage * P::Map::kKBytes, 128, 8 * kD) +
                       kBuffer * (kHalf * kD / 16);
    ptx::WgmmaS8<kHalf>::ss_first(scores[kBuffer], a, b);
#pragma unroll
    for (int k = 1; k < kD / 32; k++) ptx::WgmmaS8<kHalf>::ss(scores[kBuffer], a + 16 * k, b + 16 * k);
    ptx::wgmma_commit_group();
  }

  // P V of the half `kBuffer` of stage v_at.
  template <int kBuffer>
  __device__ __forceinline__ void issue_pv() {
    const uint64_t b = ptx::wgmma_descriptor(smem + P::Map::kVAt + v_at.stage * P::Map::kVBytes, 128, 256) +
                       kBuffer * (kHalf * P::kVRows / 16);
#pragma unroll
    for (int g = 0; g < kGroups; g++) {
      if (g == 0 && kBuffer == 0) {
        ptx::WgmmaE4m3<P::kVRows>::rs_first(part, p_early[kBuffer], b);
      } else {
        ptx::WgmmaE4m3<P::kVRows>::rs(part, &packed<kBuffer>(4 * g), b + g * (2 * P::kVRows));
      }
    }
    ptx::wgmma_commit_group();
  }

  // ------------------------------------------------------------------------------------------------ softmax

  __device__ __forceinline__ void load_k_scales(int buffer) {
    const uint32_t stage = smem + P::Map::kScaleAt + k_at.stage * P::Map::kScaleBytes;
    const uint32_t address = stage + buffer * (kGroups * 16) + 4 * (lane & 3);
#pragma unroll
    for (int g = 0; g < kGroups; g++) {
      k_scale[buffer][g] = ptx::load_shared(address + 16 * g);
    }
  }

  // x, but not before `packed` is known: probabilities are never negative.
  static __device__ __forceinline__ float after(float x, uint32_t packed) {
    return __uint_as_float(__float_as_uint(x) | (packed & 0x80000000u));
  }

  // Probabilities of the packed registers [kFirst, kLast) of a buffer.
  template <int kBuffer, int kFirst, int kLast>
  __device__ __forceinline__ void exponentiate() {
#pragma unroll
    for (int i = kFirst; i < kLast; i++) {
      const int x = i & 3;
      const int32_t* s = scores[kBuffer] + 16 * (i >> 2) + 8 * (x >> 1) + 2 * (x & 1);
      const float scale = ptx::max_nan(q_scale[x & 1] * k_scale[kBuffer][i >> 2], kMinScale);
      float ref = reference[x & 1];
      constexpr int kAtOnce = kFirst == 0 ? P::kPacksAtOnce : P::kLatePacksAtOnce;
      if (i >= kFirst + kAtOnce) ref = after(ref, packed<kBuffer>(i - kAtOnce));
      const float y[4] = {__int2float_rn(s[0]), __int2float_rn(s[1]), __int2float_rn(s[4]), __int2float_rn(s[5])};
      float e[4];
#pragma unroll
      for (int n = 0; n < 4; n++) e[n] = ptx::ex2_approx_ftz(fmaf(y[n], scale, -ref));
      packed<kBuffer>(i) = ptx::pack_e4m3x4(e[0], e[1], e[2], e[3]);
    }
  }

  // exponentiate, or zeros where the half adds next to nothing. P V runs all the same: it takes four warps.
  template <int kBuffer, int kFirst, int kLast>
  __device__ __forceinline__ void probabilities() {
    if constexpr (!P::kSkips) {
      exponentiate<kBuffer, kFirst, kLast>();
    } else if (adds) {
      exponentiate<kBuffer, kFirst, kLast>();
    } else {
#pragma unroll
      for (int i = kFirst; i < kLast; i++) packed<kBuffer>(i) = 0u;
    }
  }

  // Whether a half with the maxima y adds something to the warp's rows. NaN does. A reference that fell says nothing
  // about the row's maximum: a caller's threshold counts from the highest one.
  __device__ __forceinline__ void look_ahead(const float (&y)[2]) {
    float2 bound = make_float2(reference[0] + kVanishes, reference[1] + kVanishes);
    if constexpr (P::kListed) {
      const float negligible = ptx::load_shared(item_address() + P::Map::kNegligibleAt);
      const float2 highest = ptx::load_shared2(highest_references());
      bound = make_float2(fmaxf(bound.x, highest.x + negligible), fmaxf(bound.y, highest.y + negligible));
    }
    adds = __any_sync(kFullWarp, !(y[0] < bound.x && y[1] < bound.y));
  }

  __device__ __forceinline__ void fold() {
#pragma unroll
    for (int i = 0; i < kOut; i++) out[i] += part[i];
  }

  // Last key that the warp's first row sees: from shared memory each time, since registers are full.
  __device__ __forceinline__ int row_limit() const { return ptx::load_shared_int(item_address()) + warp_row; }
  __device__ __forceinline__ uint32_t item_address() const { return smem + P::Map::kItemAt + 32 * (round & 1); }

  // Sets the scores of keys beyond a row's limit to minus infinity.
  template <int kBuffer>
  __device__ __forceinline__ void mask(int first_key) {
    if constexpr (P::kListed) {
      mask_listed<kBuffer>();
      return;
    }
    const int limit = row_limit();
    if (first_key + kHalf - 1 <= limit) return;
    const int room = limit + (lane >> 2) - first_key - 2 * (lane & 3);
    mask_scores<0, kScores>(scores[kBuffer], room);
  }

  // The same where a half holds blocks of keys from anywhere: the producer left their first keys beside the stage. Must
  // come before the stage is released.
  template <int kBuffer>
  __device__ __forceinline__ void mask_listed() {
    const int limit = row_limit();
    mask_group<kBuffer, 0>(limit);
    if constexpr (kGroups > 1) mask_group<kBuffer, 1>(limit);
    if constexpr (kGroups > 2) mask_group<kBuffer, 2>(limit);
    static_assert(kGroups <= 3);
    if constexpr (kBuffer == 1) {
      // The list ascends, and padding ends it: the stage's last block decides for the four warps of the group alike.
      all_seen = first_key_of(P::kKeys / P::kBlockKeys - 1) <= limit - (warp_row & 63) - (P::kBlockKeys - 1);
    }
    __syncwarp();  // all lanes have read before one of them gives the stage back
  }

  template <int kBuffer, int kGroup>
  __device__ __forceinline__ void mask_group(int limit) {
    constexpr int kAt = kBuffer * kHalf + 32 * kGroup;  // in the stage
    const int first = first_key_of(kAt / P::kBlockKeys);
    const int first_key = first == P::kNoBlock ? limit + 64 : first + kAt % P::kBlockKeys;
    if (first_key + 31 <= limit) return;
    const int room = limit - first_key + (lane >> 2) - 2 * (lane & 3);
    mask_scores<16 * kGroup, 16 * kGroup + 16>(scores[kBuffer], room);
  }

  // First key of a block of the current stage.
  __device__ __forceinline__ int first_key_of(int block) const {
    return ptx::load_shared_int(smem + P::Map::kBlockAt + P::Map::kBlockBytes * k_at.stage + 4 * block);
  }

  __device__ __forceinline__ bool exceeds(const float (&y)[2]) const {
    return y[0] > reference[0] + kMaxExponent || y[1] > reference[1] + kMaxExponent;
  }

  // The same, or this thread's keys of the half lie so far below that the row may do with a lower reference: y is not
  // in an interval, given by its middle and by half of its length. A little less than half: `move` has the last word.
  __device__ __forceinline__ bool leaves_range(const float (&y)[2]) const {
    constexpr float kMiddle = (kMaxExponent - P::kSink) / 2, kHalfLength = (kMaxExponent + P::kSink) / 2 - 0x1p-10f;
    return fabsf(y[0] - reference[0] - kMiddle) > kHalfLength || fabsf(y[1] - reference[1] - kMiddle) > kHalfLength;
  }

  // Where this thread keeps its rows' highest references: there is no register for them.
  __device__ __forceinline__ uint32_t highest_references() const {
    return smem + P::kHighestAt + 8 * (ptx::thread_index() - 128);
  }

  // Raises the references so that no probability of the buffer exceeds e4m3. With kFalls it also lowers those that are
  // more than kSink above all of a row's keys, unless the keys are negligible beside what the row has seen. References
  // are integers and factors powers of two: probabilities of the stage's first half, already packed, are rescaled
  // exactly.
  template <bool kFalls>
  __device__ __forceinline__ void move(const float (&y)[2], bool rescale_p) {
    const float2 before = ptx::load_shared2(highest_references());
    float highest[2] = {before.x, before.y};
    const float negligible = ptx::load_shared(item_address() + P::Map::kNegligibleAt);
#pragma unroll
    for (int r = 0; r < 2; r++) {
      const float top = quad_max(y[r]);
      const bool first = reference[r] == kNoKeyYet && top > -kInfinity;
      const bool falls = kFalls && top < reference[r] - P::kSink && top > highest[r] + negligible;
      const bool moves = first || falls || top > reference[r] + kMaxExponent;
      const float moved = moves ? ceilf(top - kMaxExponent + P::kHeadroom) : reference[r];
      const float f = first ? 0.f : ptx::ex2_approx_ftz(reference[r] - moved);
      if (moves) highest[r] = fmaxf(highest[r], moved);
      reference[r] = moved;
      factor[r] *= f;
      if (rescale_p) {
#pragma unroll
        for (int i = 0; i < kPacks; i++) {
          if ((i & 1) == r) packed<0>(i) = scale_packed(packed<0>(i), f);
        }
      }
    }
    ptx::store_shared2(highest_references(), make_float2(highest[0], highest[1]));
  }

  // Gives O its factor. That isn't part of `fold`, which runs for every stage: references rise rarely, and a sum is one
  // register less to read than a multiply-add, for which two banks of registers are not always enough.
  __device__ __forceinline__ void rescale_out() {
#pragma unroll
    for (int i = 0; i < kOut; i++) out[i] *= factor[i >> 1 & 1];
    factor[0] = factor[1] = 1.f;
  }

  // ------------------------------------------------------------------------------------------------ one half

  enum class Role { kFirst, kMiddle, kLast };

  // Exponentiates half kBuffer of the current stage while the tensor cores compute the next half's scores and the
  // previous half's P V; then looks at the next half's maximum and raises the references if it must.
  // Nothing is in flight at entry and exit. `next_key` is the first key of the next half; only masks read it.
  template <int kBuffer, Role kRole, bool kMask = false>
  __device__ __forceinline__ void step(uint32_t q_address, int next_key) {
    constexpr bool kHasNext = kRole != Role::kLast, kHasPrevious = kRole != Role::kFirst;
    constexpr int kOther = 1 - kBuffer;
    if constexpr (P::kRandomDelay) random_delay();
    if constexpr (kHasNext && kBuffer == 1) {
      ptx::mbarrier_finish_wait(barrier.k_full(k_at.stage), k_at.parity, k_ready);
    }
    // The V that the next step multiplies with: half B's step finds it complete.
    RingPosition<P::kStages> v_next = v_at;
    if constexpr (kBuffer == 0 && kHasPrevious) v_next.advance();
    const uint32_t k_empty = barrier.k_empty(k_at.stage);
    const uint32_t v_full = barrier.v_full(v_next.stage);
    const uint32_t v_ready = ptx::mbarrier_try_wait(v_full, v_next.parity);
    ptx::wgmma_fence();
    if constexpr (kHasPrevious) issue_pv<kOther>();
    if constexpr (kHasNext) {
      issue_qk<kOther>(q_address);
      load_k_scales(kOther);
      if constexpr (kBuffer == 0)
        __syncwarp();  // the vote before the stage is given back is missing where keys are masked
    }
    if constexpr (P::kHoldExponentials) {
      ptx::mbarrier_finish_wait(v_full, v_next.parity, v_ready);
      hold_exponentials();
      probabilities<kBuffer, 0, kEarly>();
      ptx::mbarrier_finish_wait(v_full, v_next.parity, not_negative<kBuffer>());
    } else {
      probabilities<kBuffer, 0, kEarly>();
      ptx::mbarrier_finish_wait(v_full, v_next.parity, v_ready);
    }
    if constexpr (P::kRandomDelay) random_delay();
    ptx::wgmma_wait_group<0>();
    if constexpr (kHasPrevious) ptx::wgmma_pin<kOut>(part);
    if constexpr (kHasNext) {
      ptx::wgmma_pin<kScores>(scores[kOther]);
      if constexpr (kMask) mask<kOther>(next_key);
      if constexpr (kBuffer == 0) {
        k_at.advance();
        k_ready = ptx::mbarrier_try_wait(barrier.k_full(k_at.stage), k_at.parity);
      }
    }
    if constexpr (kHasPrevious && kBuffer == 0) {
      release(barrier.v_empty(v_at.stage));
      v_at.advance();
      fold();
    }
    float y[2];
    if constexpr (kHasNext) largest_scores<kMask>(scores[kOther], q_scale, k_scale[kOther], y);
    probabilities<kBuffer, kEarly, kPacks>();
    finish_half<kBuffer, kHasNext, kMask>(y);
    // Not before: by now all lanes have used K's scales. An arrival may overtake a load that still waits behind another
    // warp's stores, and the copy engine would fill the stage before it (docs/lab/hopper.md, "The race of the
    // prototype").
    if constexpr (kHasNext && kBuffer == 0) release(k_empty);
  }

  // The next two keep ptxas from undoing the overlap; docs/hopper.md, "What the compiler must be told".
  //
  // Hoisted between the multiplies' instructions, exponentials would delay these. Their reference therefore takes part
  // of a vote that stands after the end of a basic block. No scale is negative: it changes nothing.
  __device__ __forceinline__ void hold_exponentials() {
    const uint32_t nothing = __any_sync(kFullWarp, q_scale[0] < 0.f) ? ~0u : 0u;
    reference[0] = __uint_as_float(__float_as_uint(reference[0]) | nothing);
    reference[1] = __uint_as_float(__float_as_uint(reference[1]) | nothing);
  }

  // ptxas moves a multiply's wait to the top of its basic block, and arithmetic whose results are used later below it:
  // the exponentials would start after the multiplies that they should hide. So the block ends with a branch on the
  // packed probabilities. They are never negative: the answer is always 1.
  template <int kBuffer>
  __device__ __forceinline__ uint32_t not_negative() const {
    uint32_t signs = 0;
#pragma unroll
    for (int i = 0; i < kEarly; i++) signs |= p_early[kBuffer][i];
    return ~signs >> 31;
  }

  // The check of the next half. When a first half raises references, the stage before is not yet in O: the factor
  // waits for the check of the second half.
  template <int kBuffer, bool kHasNext, bool kMask>
  __device__ __forceinline__ void finish_half(const float (&y)[2]) {
    if constexpr (kBuffer == 0) {
      if (kMask || __any_sync(kFullWarp, exceeds(y) || factor[0] != 1.f || factor[1] != 1.f)) {
        move<false>(y, true);
        rescale_out();
      }
    } else if constexpr (kHasNext) {
      if (kMask || __any_sync(kFullWarp, leaves_range(y))) move<true>(y, false);
    }
    if constexpr (P::kSkips && kHasNext) look_ahead(y);
  }

  // Starts the scores of an item's first half. They need no register of the item before, whose output is written
  // meanwhile. Without keys (`tiles` <= 0) it multiplies whatever is there, and nobody looks.
  __device__ __forceinline__ void begin(uint32_t q_address, int tiles) {
    if (tiles > 0) ptx::mbarrier_wait(barrier.k_full(k_at.stage), k_at.parity);
    ptx::wgmma_fence();
    issue_qk<0>(q_address);
  }

  __device__ __forceinline__ void finish_begin() {
    ptx::wgmma_wait_group<0>();
    ptx::wgmma_pin<kScores>(scores[0]);
  }

  // All keys of one item. On return `out` holds the sums, `out`'s ones column the normalisers.
  __device__ __forceinline__ void attend(uint32_t q_address, int tiles) {
#pragma unroll
    for (int i = 0; i < kOut; i++) out[i] = 0.f;
#pragma unroll
    for (int r = 0; r < 2; r++) {
      reference[r] = kNoKeyYet;
      factor[r] = 1.f;
    }
    ptx::store_shared2(highest_references(), make_float2(-kInfinity, -kInfinity));
    int j = tiles - 1;  // tiles before the current one
    // The four warps of the group must run the same multiplies, so they change loops together, by the limit of the
    // group's first row. One tile more than the mask touches: from then on every row has seen a key.
    const int group_limit = row_limit() - (warp_row & 63);
    const auto needs_mask = [&] { return P::kListed ? !all_seen : (j + 1) * P::kKeys - 1 > group_limit; };
#pragma unroll 1
    while (true) {
      load_k_scales(0);
      mask<0>(j * P::kKeys);
      float y[2];
      largest_scores<true>(scores[0], q_scale, k_scale[0], y);
      move<true>(y, false);
      if constexpr (P::kSkips) look_ahead(y);

      // Keys are taken from the last to the first: what a causal mask touches comes first.
      step<0, Role::kFirst, true>(q_address, j * P::kKeys + kHalf);
#pragma unroll 1
      for (; j > 0 && needs_mask(); j--) {
        step<1, Role::kMiddle, true>(q_address, (j - 1) * P::kKeys);
        step<0, Role::kMiddle, true>(q_address, (j - 1) * P::kKeys + kHalf);
      }
#pragma unroll 1
      while (j > 0) {
#pragma unroll 1
        do {
          step<1, Role::kMiddle>(q_address, 0);
          step<0, Role::kMiddle>(q_address, 0);
          j--;
        } while (P::kLooks ? j % P::kLookEvery != 0 : j > 0);
        if constexpr (P::kLooks) {
          if (j > 0 && half_vanished()) break;
        }
      }
      step<1, Role::kLast>(q_address, 0);
      ptx::wgmma_fence();
      issue_pv<1>();
      ptx::wgmma_wait_group<0>();
      ptx::wgmma_pin<kOut>(part);
      release(barrier.v_empty(v_at.stage));
      v_at.advance();
      fold();
      if constexpr (!P::kLooks) return;

      int added_in_a_row = 0;
#pragma unroll 1
      for (; j > 0 && added_in_a_row < 2; j--) {
        added_in_a_row = attend_if_it_adds(q_address) ? added_in_a_row + 1 : 0;
      }
      if (j == 0) return;
      j--;
      begin(q_address, 1);
      finish_begin();
    }
  }

  // ------------------------------------------------------------------------------------------------ stages that vanish
  //
  // Far below a row's maximum all probabilities round to zero in e4m3, and no reference is lowered for them: to leave
  // such keys out changes no bit. To ask for it in `step` would cost 5 to 8 % where nothing vanishes (docs/hopper.md).
  // So the loop over stages looks up now and then; where a half was zero for the whole warpgroup, stages come one by
  // one, each asked first, until two in a row add.

  // Whether the current stage's first half, already packed, is zero in all rows of the group.
  __device__ __forceinline__ bool half_vanished() {
    uint32_t any = 0;
#pragma unroll
    for (int i = 0; i < kPacks; i++) any |= packed<0>(i);
    return !warpgroup_any(any != 0);
  }

  // The next stage, with the same operations as two steps but nothing overlapped. Without exponentials, P V and
  // fold if it adds nothing; returns whether it did.
  __device__ __forceinline__ bool attend_if_it_adds(uint32_t q_address) {
    if constexpr (P::kRandomDelay) random_delay();
    ptx::mbarrier_wait(barrier.k_full(k_at.stage), k_at.parity);
    ptx::wgmma_fence();
    issue_qk<0>(q_address);
    issue_qk<1>(q_address);
    load_k_scales(0);
    load_k_scales(1);
    ptx::wgmma_wait_group<0>();
    ptx::wgmma_pin<kScores>(scores[0]);
    ptx::wgmma_pin<kScores>(scores[1]);
    float y0[2], y1[2];
    largest_scores<false>(scores[0], q_scale, k_scale[0], y0);
    largest_scores<false>(scores[1], q_scale, k_scale[1], y1);
    const float2 highest = ptx::load_shared2(highest_references());
    const float negligible = ptx::load_shared(item_address() + P::Map::kNegligibleAt);
    const bool lowers = may_lower(y0, highest, negligible);
    const bool adds = warpgroup_any(lowers || meets_nonfinite_values<P>(smem, round) || may_add(y0, reference) ||
                                    may_add(y1, reference));
    release(barrier.k_empty(k_at.stage));  // after the use of its scales, as in `step`
    k_at.advance();
    ptx::mbarrier_wait(barrier.v_full(v_at.stage), v_at.parity);  // to give it back, its copy must be over
    if (adds) {
      move<true>(y0, false);
      exponentiate<0, 0, kPacks>();
      move<false>(y1, true);
      rescale_out();
      ptx::wgmma_fence();
      issue_pv<0>();
      ptx::wgmma_wait_group<0>();
      ptx::wgmma_pin<kOut>(part);
      exponentiate<1, 0, kPacks>();
      ptx::wgmma_fence();
      issue_pv<1>();
      ptx::wgmma_wait_group<0>();
      ptx::wgmma_pin<kOut>(part);
      fold();
    }
    release(barrier.v_empty(v_at.stage));
    v_at.advance();
    return adds;
  }
};

}  // namespace attn4j
