#include "host/machine.h"

#include <cuda_runtime_api.h>

#include "arch/arch.h"
#include "attention/launch.cuh"

namespace attn4j {
namespace {

struct Known {
  int32_t sm;
  Machine machine;
};

// From data sheets, where a GPU isn't the reference with another number of SMs. Not measured: an H100 PCIe boosts to
// 1755 MHz instead of 1980; an H20 has 148 TFLOPS of dense FP16 on 78 SMs, a quarter of what an H100's SM has.
constexpr Known kKnown[] = {
    {90, {114, 0.886, 1}},
    {90, {78, 1, 0.253}},
};

}  // namespace

Machine machine_of(int32_t multiprocessors) {
  for (const Known& k : kKnown) {
    if (k.sm == arch::kSm && k.machine.multiprocessors == multiprocessors) return k.machine;
  }
  return {multiprocessors, 1, 1};
}

int32_t multiprocessors_of(int device) {
  int count = 0;
  if (multiprocessor_count(device, &count) == cudaSuccess) return count;
  cudaGetLastError();
  return 0;
}

Machine current_machine() {
  static const bool usable = [] {  // without a driver each question would look for one again
    int count = 0;
    const bool found = cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
    cudaGetLastError();
    return found;
  }();
  int device = 0;
  if (!usable || cudaGetDevice(&device) != cudaSuccess) return machine_of(kReferenceSms);
  const int32_t multiprocessors = multiprocessors_of(device);
  return machine_of(multiprocessors > 0 ? multiprocessors : kReferenceSms);
}

}  // namespace attn4j
