// The copy engine's tiled copies (sm_90): a box of a strided tensor that a tensor map describes.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace attn4j::ptx {

// First element of a box, one index per dimension of the tensor map. Parts of the box outside the tensor become zeros.
struct BoxOrigin {
  int32_t channel, row, head, batch;
};

// Global to shared memory; completion is counted in bytes of the whole box on `barrier`. `map` lies in kernel
// parameters.
__device__ __forceinline__ void tma_load_box(uint32_t destination, const CUtensorMap& map, const BoxOrigin& at,
                                             uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4, %5}], "
      "[%6];" ::"r"(destination),
      "l"(&map), "r"(at.channel), "r"(at.row), "r"(at.head), "r"(at.batch), "r"(barrier)
      : "memory");
}

// Fetches the map itself ahead of its first use.
__device__ __forceinline__ void tma_prefetch_map(const CUtensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

}  // namespace attn4j::ptx
