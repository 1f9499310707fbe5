// Keys that stand for all: one of each `step`, at places that no period of the data follows.
#pragma once

#include <cstdint>

namespace attn4j {

struct SampledKeys {
  int keys, step, count;

  // At most `most` of `keys`; all with most 0.
  __device__ __forceinline__ SampledKeys(int keys, int most)
      : keys(keys), step(most == 0 ? 1 : max(1, (keys + most - 1) / most)), count((keys + step - 1) / step) {}

  // bench/cpp/sparse_problem.cuh has the same formula.
  __device__ __forceinline__ int key(int i) const {
    const uint32_t place = (i * 40503u & 0xffffu) * static_cast<uint32_t>(step) >> 16;
    return min(i * step + static_cast<int>(place), keys - 1);
  }
};

}  // namespace attn4j
