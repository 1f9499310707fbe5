// SpargeAttn on Hopper (arXiv:2502.18137): the kernel of fp8_wgmma/fp8.cuh over the blocks of keys of a list.
//
// A stage of the dense kernel is one run of keys. Here it holds blocks of 64 keys from anywhere, copied one by one, so
// that the consumers go on multiplying whole stages. Where the keys come from matters to causal masks alone.
#pragma once

#include "attention/fp8_wgmma/fp8.cuh"

namespace attn4j {

// Copies the listed blocks of an item, the last first. The list is taken as a sequence of stages; what the last one
// lacks is filled with a block that is there anyway, and marked: consumers mask it.
template <class P>
struct WgmmaListedTiles {
  static constexpr int kBlocks = P::kKeys / P::kBlockKeys;
  static constexpr int kKBytes = P::kBlockKeys * P::kHeadDim, kVBytes = P::kBlockKeys * P::kVRows;
  static constexpr int kScaleBytes = P::kBlockKeys / 32 * 16;

  static __device__ __forceinline__ void produce(const WgmmaParams& p, const WgmmaItem& item, unsigned char* shared,
                                                 uint32_t smem, WgmmaBarriers<P> barrier, RingPosition<P::kStages>& at,
                                                 WgmmaTicket& ticket) {
    const AttentionArgs& a = p.a;
    const int64_t row =
        (static_cast<int64_t>(item.batch) * a.heads_q + item.head) * p.query_blocks + item.first_row / P::kRows;
    const int32_t* list = a.blocks.list + row * (a.lk_padded / P::kBlockKeys);
    const int count = __ldg(a.blocks.count + row);
    // Blocks are counted over all heads in 32 bits: this warpgroup has few registers.
    const int first_block = (item.batch * a.heads_kv + item.head / a.group) * (a.lk_padded / P::kBlockKeys);
#pragma unroll 1
    for (int tile = item.first_tile + item.tiles - 1; tile >= item.first_tile; tile--) {
      if constexpr (P::kRandomDelay) random_delay();
      if (tile == item.first_tile) ticket.draw();
      int block[kBlocks];  // before the wait for room, so that the latency of the list hides behind it
#pragma unroll
      for (int i = 0; i < kBlocks; i++) block[i] = __ldg(list + min(tile * kBlocks + i, count - 1));
      ptx::mbarrier_wait(barrier.k_empty(at.stage), at.parity ^ 1);
      auto* keys = reinterpret_cast<int32_t*>(shared + P::Map::kBlockAt + P::Map::kBlockBytes * at.stage);
#pragma unroll
      for (int i = 0; i < kBlocks; i++) {
        keys[i] = tile * kBlocks + i < count ? block[i] * P::kBlockKeys : P::kNoBlock;
      }
      ptx::mbarrier_arrive_expect_tx(barrier.k_full(at.stage), P::kFirstBytes);
#pragma unroll
      for (int i = 0; i < kBlocks; i++) {
        const int64_t from = first_block + block[i];
        ptx::bulk_copy_to_shared(smem + P::Map::kKAt + at.stage * P::Map::kKBytes + i * kKBytes,
                                 a.k_image + from * kKBytes, kKBytes, barrier.k_full(at.stage));
        ptx::bulk_copy_to_shared(smem + P::Map::kScaleAt + at.stage * P::Map::kScaleBytes + i * kScaleBytes,
                                 a.k_scale + from * (P::kBlockKeys / 8), kScaleBytes, barrier.k_full(at.stage));
      }
      if constexpr (!P::kWholeStages) {
        ptx::mbarrier_wait(barrier.v_empty(at.stage), at.parity ^ 1);
        ptx::mbarrier_arrive_expect_tx(barrier.v_full(at.stage), P::Map::kVBytes);
      }
#pragma unroll
      for (int i = 0; i < kBlocks; i++) {
        const int64_t from = first_block + block[i];
        ptx::bulk_copy_to_shared(smem + P::Map::kVAt + at.stage * P::Map::kVBytes + i * kVBytes,
                                 a.v_image + from * kVBytes, kVBytes, barrier.v_full(at.stage));
      }
      at.advance();
    }
  }
};

// kSkip: also leaves out the exponentials of halves whose scores stay below the caller's pvthreshd. To ask costs 6 to 8
// % of the kernel where nothing is skipped (docs/sparge.md), so that is a kernel of its own.
template <int D, bool kSkip>
struct SparseWgmmaPolicy : std::conditional_t<kSkip, WgmmaPolicy<D>, WgmmaBestPolicy<D>> {
  using Base = std::conditional_t<kSkip, WgmmaPolicy<D>, WgmmaBestPolicy<D>>;
  using Tiles = WgmmaListedTiles<SparseWgmmaPolicy>;
  static constexpr bool kListed = true, kSkips = kSkip;
  static constexpr bool kLooks = !kSkip;
  static constexpr int kBlockKeys = 64;        // of a block, whatever a stage holds
  static constexpr int kNoBlock = 0x7fffffff;  // instead of a first key: padding

  static_assert(Base::kKeys % kBlockKeys == 0 && 4 * (Base::kKeys / kBlockKeys) <= Base::Map::kBlockBytes);
};

// As WgmmaInt8Fp8, and args.blocks must be there.
template <int kD, DType T>
struct SparseWgmmaInt8Fp8 {
  using Policy = SparseWgmmaPolicy<kD, false>;
  // From here on a threshold skips less than what asking costs: nothing is asked for, and nothing left out.
  static constexpr float kWorthAsking = 15.f;

  static cudaError_t launch(const AttentionArgs& args, cudaStream_t stream) {
    if (args.blocks.pv_thresholds != nullptr || args.blocks.pv_threshold < kWorthAsking) {
      return wgmma_launch<SparseWgmmaPolicy<kD, true>, T>(args, stream);
    }
    return wgmma_launch<Policy, T>(args, stream);
  }
  static KernelEntry entry(const char* name) {
    KernelEntry e = make_entry<kD, T>(name, Policy::kRows, Policy::kBlockKeys, &launch);
    e.streams = Policy::kStreams;
    e.qk = Precision::kInt8, e.pv = Precision::kFp8;
    e.function = Function::kSparse;
    e.accumulator = PvAccumDType::kFp32Fp32;
    e.per_thread_only = true;
    e.preparation = &kFp8Images;
    e.cost = int8_fp8_wgmma_cost<kD>();
    e.lists = fp8_wgmma_list_cost<kD>();
    return e;
  }
};

}  // namespace attn4j
