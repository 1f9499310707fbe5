// Kernels with a fault each, to see that the emulated GPU finds it: docs/emulation.md. Each runs in a process of its
// own.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string>

#include "device/launch.cuh"
#include "device/ptx/bulk_copy.cuh"
#include "device/ptx/cp_async.cuh"
#include "device/ptx/mbarrier.cuh"
#include "device/ptx/shared_access.cuh"
#include "device/ptx/wgmma_f16.cuh"
#include "runtime/settings.h"

namespace {

using namespace attn4j;

// `fault` false: the same kernel as it should be.
using Kernel = void (*)(const float* in, float* out, bool fault);
constexpr int kThreads = 128;

__global__ void forgotten_wait(const float* in, float* out, bool fault) {
  ATTN4J_DYNAMIC_SHARED(16, float, smem);
  ptx::cp_async_16(ptx::smem_address(smem + 4 * threadIdx.x), in + 4 * threadIdx.x);
  ptx::cp_async_commit();
  if (!fault) ptx::cp_async_wait<0>();
  out[threadIdx.x] = smem[4 * threadIdx.x];
}

__global__ void forgotten_barrier(const float* in, float* out, bool fault) {
  ATTN4J_DYNAMIC_SHARED(16, float, smem);
  smem[threadIdx.x] = in[4 * (kThreads - 1 - threadIdx.x)];
  if (!fault) __syncthreads();
  out[threadIdx.x] = smem[kThreads - 1 - threadIdx.x];
}

// The second round writes what the first may still be reading.
__global__ void forgotten_second_barrier(const float* in, float* out, bool fault) {
  ATTN4J_DYNAMIC_SHARED(16, float, smem);
  for (int round = 0; round < 2; round++) {
    smem[threadIdx.x] = in[4 * (kThreads - 1 - threadIdx.x)] + static_cast<float>(round);
    __syncthreads();
    if (round == 0) out[threadIdx.x] = smem[kThreads - 1 - threadIdx.x];
    if (!fault) __syncthreads();
  }
}

__global__ void barrier_of_some(const float* in, float* out, bool fault) {
  if (!fault || threadIdx.x < 96) ptx::named_barrier_sync(1, kThreads);
  out[threadIdx.x] = in[4 * threadIdx.x];
}

__global__ void lanes_apart(const float* in, float* out, bool fault) {
  float x = in[4 * threadIdx.x];
  if (fault && threadIdx.x % 2 == 0) {
    __syncwarp();
  } else {
    x = __shfl_sync(0xffffffffu, x, static_cast<int>(threadIdx.x % 32));
  }
  out[threadIdx.x] = x;
}

__global__ void bytes_that_never_come(const float* in, float* out, bool fault) {
  ATTN4J_DYNAMIC_SHARED(128, float, smem);
  const uint32_t barrier = ptx::shared_address(smem + 4 * kThreads);
  if (threadIdx.x == 0) {
    ptx::mbarrier_init(barrier, 1);
    ptx::mbarrier_arrive_expect_tx(barrier, 16 * kThreads + (fault ? 16 : 0));
    ptx::bulk_copy_to_shared(ptx::shared_address(smem), in, 16 * kThreads, barrier);
  }
  __syncthreads();
  ptx::mbarrier_wait(barrier, 0);
  out[threadIdx.x] = smem[4 * threadIdx.x];
}

__global__ void copy_not_waited_for(const float* in, float* out, bool fault) {
  ATTN4J_DYNAMIC_SHARED(128, float, smem);
  const uint32_t barrier = ptx::shared_address(smem + 4 * kThreads);
  if (threadIdx.x == 0) {
    ptx::mbarrier_init(barrier, 1);
    ptx::mbarrier_arrive_expect_tx(barrier, 16 * kThreads);
    ptx::bulk_copy_to_shared(ptx::shared_address(smem), in, 16 * kThreads, barrier);
  }
  __syncthreads();
  if (!fault) ptx::mbarrier_wait(barrier, 0);
  out[threadIdx.x] = smem[4 * threadIdx.x];
  __syncthreads();
  if (fault) ptx::mbarrier_wait(barrier, 0);
}

__global__ void behind_shared_memory(const float* in, float* out, bool fault) {
  ATTN4J_DYNAMIC_SHARED(16, float, smem);
  const uint32_t last = ptx::smem_address(smem) + 4 * 1024 - 4;
  ptx::store_shared(last + (fault ? 4 : 0), in[0]);
  out[threadIdx.x] = in[4 * threadIdx.x];
}

__global__ void behind_global_memory(const float* in, float* out, bool fault) {
  out[threadIdx.x] = in[4 * threadIdx.x + (fault ? 4 * kThreads : 0)];
}

// D = A B with 64 x 16 and 16 x 64 zeros: `fault_at` 1 has no fence, 2 looks at D before the wait.
void multiply(const float* in, float* out, int fault_at) {
  ATTN4J_DYNAMIC_SHARED(1024, float, smem);
  for (int i = 0; i < 8; i++) smem[8 * threadIdx.x + i] = 0.f;
  __syncthreads();
  const uint64_t descriptor = ptx::wgmma_descriptor(ptx::shared_address(smem), 128, 256);
  float d[32];
  if (fault_at != 1) ptx::wgmma_fence();
  ptx::WgmmaF16<64>::ss_first<0>(d, descriptor, descriptor);
  ptx::wgmma_commit_group();
  const float early = d[5];
  ptx::wgmma_wait_group<0>();
  out[threadIdx.x] = in[4 * threadIdx.x] + (fault_at == 2 ? early : d[5]);
}
__global__ void forgotten_fence(const float* in, float* out, bool fault) { multiply(in, out, fault ? 1 : 0); }
__global__ void early_accumulator(const float* in, float* out, bool fault) { multiply(in, out, fault ? 2 : 0); }

struct Fault {
  const char* name;
  Kernel kernel;
  const char* sentence;  // part of what is said; null: the result is wrong
};

const Fault kFaults[] = {
    {"cp.async without a wait", forgotten_wait, nullptr},
    {"a barrier is missing", forgotten_barrier, nullptr},
    {"the second barrier of a loop is missing", forgotten_second_barrier, nullptr},
    {"some threads skip a barrier", barrier_of_some, "waits at barrier 1, where 96 of 128 threads are"},
    {"lanes of a warp at two instructions", lanes_apart, "__syncwarp"},
    {"bytes that never come", bytes_that_never_come, "phase 0 lacks 0 of 1 arrivals and 16 bytes"},
    {"a bulk copy without a wait", copy_not_waited_for, nullptr},
    {"behind shared memory", behind_shared_memory, "st.shared: 4 bytes at shared address"},
    {"behind an allocation", behind_global_memory, "touches"},
    {"wgmma without a fence", forgotten_fence, "no wgmma.fence"},
    {"an accumulator before the wait", early_accumulator, nullptr},
};

// Exit status of a run: 0 right, 1 wrong.
int run_here(const Fault& f, bool fault, uint64_t seed) {
  emulation::settings().seed = seed;
  emulation::settings().multiprocessors = 1;
  float *in = nullptr, *out = nullptr;
  cudaMalloc(reinterpret_cast<void**>(&in), 16 * kThreads);
  cudaMalloc(reinterpret_cast<void**>(&out), 4 * kThreads);
  for (int i = 0; i < 4 * kThreads; i++) in[i] = static_cast<float>(i);
  if (enqueue_kernel(f.kernel, 1, kThreads, 4096, nullptr, in, out, fault) != cudaSuccess) return 2;
  for (int i = 0; i < kThreads; i++) {
    if (!(out[i] == in[4 * i])) return 1;
  }
  return 0;
}

// Runs it in a child; what it says goes to `said`.
int run_apart(const Fault& f, bool fault, uint64_t seed, std::string* said) {
  int ends[2];
  if (pipe(ends) != 0) return -1;
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], 2);
    _exit(run_here(f, fault, seed));
  }
  close(ends[1]);
  char text[4096];
  for (ssize_t n = 0; (n = read(ends[0], text, sizeof text)) > 0;) said->append(text, static_cast<size_t>(n));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  return status;
}

// Whether the fault is found with one of the seeds, and the kernel without it runs with all.
bool check(const Fault& f) {
  bool found = false;
  std::string said;
  for (uint64_t seed = 0; seed < 5; seed++) {
    std::string now;
    if (const int status = run_apart(f, false, seed, &now); status != 0) {
      std::printf("WRONG %s: without the fault the status is %d, seed %d: %s\n", f.name, status, static_cast<int>(seed),
                  now.c_str());
      return false;
    }
    now.clear();
    const int status = run_apart(f, true, seed, &now);
    const bool exited = WIFEXITED(status);
    if (f.sentence == nullptr) {
      found |= exited && WEXITSTATUS(status) == 1;
    } else {
      found |= exited && WEXITSTATUS(status) == emulation::kFaultStatus && now.find(f.sentence) != std::string::npos;
    }
    said = now;
  }
  std::printf("%s %s\n", found ? "found" : "NOT FOUND", f.name);
  if (!found) std::printf("  it said: %s\n", said.c_str());
  return found;
}

}  // namespace

int main() {
  std::setvbuf(stdout, nullptr, _IONBF, 0);
  int failed = 0;
  for (const Fault& f : kFaults) failed += !check(f);
  return failed == 0 ? 0 : 1;
}
