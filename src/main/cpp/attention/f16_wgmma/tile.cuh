// Shapes, shared memory and barriers of the exact Hopper kernel.
#pragma once

#include <type_traits>

#include "attention/f16_wgmma/schedule.cuh"
#include "device/numeric.cuh"
#include "device/ptx/ldmatrix.cuh"
#include "device/ptx/mbarrier.cuh"
#include "device/ptx/ordering.cuh"
#include "device/ptx/tma.cuh"
#include "device/ptx/wgmma.cuh"
#include "device/ptx/wgmma_bf16.cuh"
#include "device/ptx/wgmma_f16.cuh"

namespace attn4j {

// Where wgmma reads Q from.
enum class QuerySource { kShared, kRegisters };

// Where ptxas puts the exponentials: left alone, it moves some or all of them below the wait for P*V. Keeping them
// above is a gain for one tile shape and a loss for others, as measured.
enum class Softmax { kFree, kHeld };

// What a consumer needs to know of its tile, whatever the scores are made of. V is 16-bit: it lies in shared memory as
// a row of boxes of kBoxChannels channels; a box is its rows one after another, the 16-byte pieces of 8 rows swizzled
// against each other.
template <int kD_, DType kType_, int kWarpgroups_, int kKeys_, int kStages_, int kQueryBuffers_>
struct TileShape {
  static constexpr int kD = kD_, kWarpgroups = kWarpgroups_, kKeys = kKeys_, kStages = kStages_;
  static constexpr int kQueryBuffers = kQueryBuffers_;
  static constexpr DType kType = kType_;
  static constexpr int kRows = 64 * kWarpgroups;
  static constexpr int kThreads = 128 * (kWarpgroups + 1);
  // Of 65536 registers: the producer's warpgroup gives its share to the consumers. The sum must not exceed what the CTA
  // is launched with: setmaxnreg would wait for more for ever.
  static constexpr int kProducerRegisters = kWarpgroups == 3 ? 32 : 40;
  static constexpr int kConsumerRegisters = kWarpgroups == 3 ? 160 : 232;
  static_assert(kProducerRegisters + kWarpgroups * kConsumerRegisters <= 65536 / kThreads / 8 * 8 * (kWarpgroups + 1));

  static constexpr int kSwizzleBytes = kD % 64 == 0 ? 128 : 64;
  static constexpr int kBoxChannels = kSwizzleBytes / 2;
  static constexpr int kBoxes = kD / kBoxChannels;
  static_assert(kBoxes * kBoxChannels == kD);
  static constexpr int kVBytes = kKeys * kD * 2;

  template <int N>
  using Mma = std::conditional_t<kType == DType::kFloat16, ptx::WgmmaF16<N>, ptx::WgmmaBf16<N>>;

  // Descriptor of a tile of boxes with `rows` rows. K-major for Q and K, whose multiplies stay inside a box; N-major
  // for V, whose multiplies span all boxes.
  static __device__ __forceinline__ uint64_t box_descriptor(uint32_t address, int rows) {
    constexpr uint64_t kMode = kSwizzleBytes == 128 ? 1 : 2;
    return ptx::wgmma_descriptor(address, rows * kSwizzleBytes, 8 * kSwizzleBytes) | kMode << 62;
  }
};

template <class Tile>
class ExactScores;
template <class Tile>
struct ExactSource;

// 16-bit Q and K in boxes.
template <int kD_, DType kType_, int kWarpgroups_, int kKeys_, int kStages_, int kQueryBuffers_, QuerySource kSource,
          Softmax kSoftmax = Softmax::kFree>
struct ExactTile : TileShape<kD_, kType_, kWarpgroups_, kKeys_, kStages_, kQueryBuffers_> {
  using Scores = ExactScores<ExactTile>;
  using Source = ExactSource<ExactTile>;
  static constexpr bool kHoldSoftmax = kSoftmax == Softmax::kHeld;
  static constexpr bool kQueriesInRegisters = kSource == QuerySource::kRegisters;
  static constexpr int kQBytes = 64 * kWarpgroups_ * kD_ * 2, kKBytes = kKeys_ * kD_ * 2;
  static constexpr int kScaleBytes = 0;         // of a K tile
  static constexpr bool kSharesScales = false;  // a key that isn't finite makes the scores of others NaN
};

// A ring position and the parity of its current phase.
template <int kStages>
struct RingIndex {
  int slot = 0;
  uint32_t parity = 0;
  __device__ __forceinline__ void advance() {
    if (++slot == kStages) slot = 0, parity ^= 1;
  }
};

// Addresses of everything in shared memory: Q buffers, K stages, V stages, scales of K, barriers, words of warps.
template <class Tile>
class TileShared {
 public:
  __device__ __forceinline__ explicit TileShared(unsigned char* memory)
      : memory_(memory), base_(ptx::shared_address(memory)) {}

  __device__ __forceinline__ uint32_t q(int buffer) const { return base_ + buffer * Tile::kQBytes; }
  __device__ __forceinline__ uint32_t k(int stage) const {
    return base_ + Tile::kQueryBuffers * Tile::kQBytes + stage * Tile::kKBytes;
  }
  __device__ __forceinline__ uint32_t v(int stage) const { return k(Tile::kStages) + stage * Tile::kVBytes; }
  __device__ __forceinline__ uint32_t k_scale(int stage) const { return v(Tile::kStages) + stage * Tile::kScaleBytes; }

  __device__ __forceinline__ uint32_t k_full(int stage) const { return barrier(stage); }
  __device__ __forceinline__ uint32_t k_empty(int stage) const { return barrier(Tile::kStages + stage); }
  __device__ __forceinline__ uint32_t v_full(int stage) const { return barrier(2 * Tile::kStages + stage); }
  __device__ __forceinline__ uint32_t v_empty(int stage) const { return barrier(3 * Tile::kStages + stage); }
  __device__ __forceinline__ uint32_t q_full(int buffer) const { return barrier(4 * Tile::kStages + buffer); }
  __device__ __forceinline__ uint32_t q_empty(int buffer) const {
    return barrier(4 * Tile::kStages + Tile::kQueryBuffers + buffer);
  }
  // A V tile that the producer cleans before it hands it on.
  __device__ __forceinline__ uint32_t v_raw() const { return barrier(4 * Tile::kStages + 2 * Tile::kQueryBuffers); }

  // A word of each consumer warp.
  __device__ __forceinline__ uint32_t suspects() const { return barrier(kBarriers); }

  // For ordinary accesses.
  template <class T>
  __device__ __forceinline__ T* pointer(uint32_t address) const {
    return reinterpret_cast<T*>(memory_ + (address - base_));
  }

  // Full barriers expect the producer, empty ones every consumer warp.
  __device__ __forceinline__ void init_barriers() const {
    constexpr int kDone = 4 * Tile::kWarpgroups * ptx::kArrivingLanes;  // arrivals of consumer warps
    for (int i = 0; i < Tile::kStages; i++) {
      ptx::mbarrier_init(k_full(i), 1);
      ptx::mbarrier_init(k_empty(i), kDone);
      ptx::mbarrier_init(v_full(i), 1);
      ptx::mbarrier_init(v_empty(i), kDone);
    }
    for (int i = 0; i < Tile::kQueryBuffers; i++) {
      ptx::mbarrier_init(q_full(i), 1);
      ptx::mbarrier_init(q_empty(i), kDone);
    }
    ptx::mbarrier_init(v_raw(), 1);
    ptx::fence_mbarrier_init();
  }

  static constexpr int kBarriers = 4 * Tile::kStages + 2 * Tile::kQueryBuffers + 1;
  static constexpr int kBytes = Tile::kQueryBuffers * Tile::kQBytes +
                                Tile::kStages * (Tile::kKBytes + Tile::kVBytes + Tile::kScaleBytes) + 8 * kBarriers +
                                16 * Tile::kWarpgroups;
  static_assert(kBytes <= 227 * 1024);

 private:
  __device__ __forceinline__ uint32_t barrier(int i) const { return k_scale(Tile::kStages) + 8 * i; }

  unsigned char* memory_;
  uint32_t base_;  // the same as a shared-memory address
};

// What the kernel is given. Tensor maps must be 64-byte aligned; CUtensorMap's own alignment sees to it.
struct ExactParams {
  CUtensorMap q_map, k_map, v_map;
  AttentionArgs args;
  WorkPlan plan;
};

}  // namespace attn4j
