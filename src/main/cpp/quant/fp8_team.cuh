// What the units of the Hopper path's quantisation have in common: teams of threads, and the shape of their work.
#pragma once

#include <cstdint>

#include "attention/arguments.h"
#include "device/numeric.cuh"
#include "device/ptx/global_sync.cuh"
#include "device/ptx/mbarrier.cuh"
#include "device/ptx/ordering.cuh"
#include "quant/fp8_prepass.h"
#include "quant/fp8_schedule.h"

namespace attn4j {

constexpr int kTeamThreads = 256;

// A CTA holds a few teams. Each works by itself, with a hardware barrier of its own.
struct Fp8Team {
  // Not kept in registers: a unit has none to spare.
  __device__ __forceinline__ int number() const { return ptx::thread_index() / kTeamThreads; }
  __device__ __forceinline__ int thread() const { return ptx::thread_index() % kTeamThreads; }
  __device__ __forceinline__ void sync() const { ptx::named_barrier_sync(number() + 1, kTeamThreads); }
  __device__ __forceinline__ bool any(bool mine) const {
    return ptx::named_barrier_any(number() + 1, kTeamThreads, mine);
  }
};

struct PrepassParams {
  AttentionArgs a;
  Fp8Schedule schedule;
  Fp8Extras extras;
  float* statistics;     // [b, hkv] times HeadStatistics (quant/fp8_statistics.cuh)
  int32_t* images_done;  // [b, hkv]: blocks whose image is complete
  int32_t* means_done;   // [b, hkv]: 1 when the mean of K is there
  int32_t* v_done;       // [b, hkv]: units of V's statistics
  int32_t* units_drawn;  // [2]
  int32_t key_tile, compiled_d;
  int32_t parts_done_count;  // of attention's counters of the parts of items
};

// How a team divides a block of rows. Copies and statistics go by pieces of 16 bytes, quantisation of Q and K by rows:
// a thread has half a row, or a whole one of 64 channels.
template <int D>
struct PrepassShape {
  static constexpr int kPieces = D / 8;                   // of a row
  static constexpr int kRowsAtOnce = D == 64 ? 32 : 16;   // that a team copies
  static constexpr int kCopiers = kPieces * kRowsAtOnce;  // threads that do: whole warps
  static constexpr int kBlock = kRowsAtOnce * 8;          // keys or queries of a block
  static constexpr int kParts = kTeamThreads / kBlock;    // threads of a row
  static constexpr int kPartChannels = D / kParts;
  // Lanes that share a row where shuffles reduce over them: a power of two. D = 96 leaves 4 of 16 idle.
  static constexpr int kLanes = D == 64 ? 8 : 16;

  static_assert(kCopiers <= kTeamThreads && kCopiers % 32 == 0 && kPartChannels % 16 == 0);
};

__device__ __forceinline__ int valid_keys(const AttentionArgs& a, int batch) {
  return a.kv_lengths ? max(0, min(a.kv_lengths[batch], a.lk)) : a.lk;
}

// Where the keys of a batch entry stand in K and V.
__device__ __forceinline__ const int32_t* key_places(const AttentionArgs& a, int batch) {
  return a.key_places + static_cast<int64_t>(batch) * a.lk;
}

// Where a key's row is copied from: for a hidden one that is another's.
__device__ __forceinline__ int place_of_key(const int32_t* places, int key) {
  const int place = places[key];
  return place ^ place >> 31;
}

// Of 16 keys from `first` on, a multiple of 16: those that a mask hides, as bits.
__device__ __forceinline__ uint32_t hidden_keys(const AttentionArgs& a, int batch, int first) {
  if (a.hidden_keys == nullptr || first >= a.lk) return 0;
  const uint32_t word = a.hidden_keys[static_cast<int64_t>(batch) * ((a.lk + 31) / 32) + first / 32];
  return first % 32 == 0 ? word & 0xffffu : word >> 16;
}

template <DType T>
__device__ __forceinline__ const typename Element<T>::type* rows_of(const void* x, const Strides& s, int batch,
                                                                    int head) {
  return static_cast<const typename Element<T>::type*>(x) + batch * s.batch + head * s.head;
}

}  // namespace attn4j
