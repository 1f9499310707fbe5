// The emulated GPU as emulated instructions see it. docs/emulation.md says what is emulated and what isn't.
//
// Threads of a CTA are fibers of one OS thread: between two calls of this header nobody else of the CTA runs.
#pragma once

#include <vector_types.h>

#include <cstddef>
#include <cstdint>
#include <functional>

// CUDA's built-in variables.
extern __thread uint3 threadIdx, blockIdx;
extern __thread dim3 blockDim, gridDim;

namespace emulation {

// Elements of the matrices that are multiplied.
enum class MatrixType { kF16, kBf16, kS8, kE4m3 };

// One asynchronous copy into shared memory by cp.async.
struct ThreadCopy {
  uint32_t target;
  const void* source;  // null: zeros
  uint32_t bytes;
};

// The thread that runs.
struct Thread {
  uint3 index;
  int number, lane, warp;
};
extern __thread Thread* self;

// Ends the process with a sentence that names kernel, CTA and thread.
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

// ------------------------------------------------------------------------------------------------------ shared memory

// Start of the CTA's dynamic shared memory. Its address is a multiple of `alignment`, and of nothing larger.
void* dynamic_shared(size_t alignment);
// Between generic addresses and 32-bit ones. `bytes` from the address on must lie inside shared memory.
uint32_t shared_address(const void* p);
char* shared_pointer(uint32_t address, uint32_t bytes, uint32_t alignment, const char* what);

template <class T>
T load_shared(uint32_t address, const char* what) {
  T x;
  __builtin_memcpy(&x, shared_pointer(address, sizeof(T), sizeof(T), what), sizeof(T));
  return x;
}
template <class T>
void store_shared(uint32_t address, const T& x, const char* what) {
  __builtin_memcpy(shared_pointer(address, sizeof(T), sizeof(T), what), &x, sizeof(T));
}

// ----------------------------------------------------------------------------------------------------------- meetings

// The lanes of `mask` meet; the last to arrive is told so, and finds what each brought in `slots`, by lane. The others
// return once the last went on to its next wait.
bool meet_warp(const char* what, uint32_t mask, void* mine, void** slots);
// The same for the four warps of a warpgroup, by thread.
bool meet_warpgroup(const char* what, void* mine, void** slots);

// meet_warp with the work that the last one does for all.
template <class T, class F>
void in_warp(const char* what, uint32_t mask, T& mine, const F& work) {
  void* slots[32];
  if (meet_warp(what, mask, &mine, slots)) work(reinterpret_cast<T**>(slots));
}

// Barrier `id`; `threads` 0: all of the CTA that haven't ended. Returns whether any brought `mine`.
bool barrier_sync(int id, int threads, bool mine);
void barrier_arrive(int id, int threads);

// Lets other threads run; for loops that wait for memory.
void yield();

// --------------------------------------------------------------------------------------------------- cp.async (sm_80)

void copy_async(const ThreadCopy& copy);
void commit_copies();
void wait_copies(int pending);

// ------------------------------------------------------------------------------------- mbarriers and copies (sm_90)

void mbarrier_init(uint32_t barrier, uint32_t arrivals);
// Arrives; `bytes` more have to come before the phase is complete.
void mbarrier_arrive(uint32_t barrier, uint32_t bytes);
bool mbarrier_is_complete(uint32_t barrier, uint32_t parity);
void mbarrier_wait(uint32_t barrier, uint32_t parity);

// A copy by the copy engine: `bytes` from `source` on, or a box of the tensor that `map` describes.
struct EngineCopy {
  uint32_t target = 0, bytes = 0, barrier = 0;
  const void* source = nullptr;
  const void* map = nullptr;  // a CUtensorMap
  int32_t origin[4] = {};
};
void start_copy(const EngineCopy& copy);

// --------------------------------------------------------------------------------------------------------- wgmma
// (sm_90)

// One thread's part in wgmma.mma_async: D (+)= A B, D 64 x n.
struct WarpgroupMultiply {
  MatrixType type;
  int n;
  bool accumulates;             // else D = A B
  bool transposed_b;            // B lies N-major in shared memory
  void* d;                      // n / 2 numbers, fp32 or s32
  const uint32_t* a_registers;  // 4, or null: a_descriptor counts
  uint64_t a_descriptor, b_descriptor;
};
void wgmma(const WarpgroupMultiply& mine);
void wgmma_fence();
void wgmma_commit();
void wgmma_wait(int pending);

// ------------------------------------------------------------------------------------------------------------ launches

struct Launch {
  dim3 ctas, threads;
  size_t shared_bytes = 0;
  const void* kernel = nullptr;  // for messages and limits
  std::function<void()> body;    // runs once per thread
};
// Runs all CTAs to their end. Returns a cudaError_t.
int run(const Launch& launch);
// Dynamic shared memory that a kernel may have; 48 KB as long as nobody asked for more.
void allow_shared_memory(const void* kernel, int bytes);

}  // namespace emulation
