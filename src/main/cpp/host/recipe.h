// A compiled kernel and its recipe: what it serves, what runs before it, and what it costs. The host asks entries,
// never which family they are of: a new family is a file with an `entry` of its own and a line in variants.list.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "attention/arguments.h"
#include "attn4j/attn4j.h"
#include "host/machine.h"
#include "host/refusal.h"

namespace attn4j {

struct KernelEntry;
struct Preparation;  // host/preparation.h

// What callers ask for by name. sageattn may be answered by any dense one.
enum class Function : int32_t {
  kExact,        // exact_attn
  kInt8F16,      // sageattn_qk_int8_pv_fp16_cuda
  kInt8Fp8,      // sageattn_qk_int8_pv_fp8_cuda
  kInt8Fp8Sm90,  // sageattn_qk_int8_pv_fp8_cuda_sm90
  kSparse,       // SpargeAttn's three, over lists of blocks
};

// What a kernel takes where the problem fills the reference GPU (host/machine.h): data, fitted to measurements of whole
// calls. docs/choice.md has those.
struct Cost {
  double plain = 0, causal = 0;  // operations per second within an item; 0: nobody has measured it
  double peak = 0;               // operations per second of the tensor cores by data sheet; 0: never the limit
  double item = 0;               // seconds for 128 queries of a head on a stream, whatever the number of keys
  double block = 0;              // seconds for a block of the preparation on an SM
  double start = 0;              // seconds of a call
  int32_t block_rows = 128;      // rows of a block
  double key_passes = 0;         // of the preparation over the rows of K and V; over those of Q it makes one
};

// What lists of blocks add to the dense kernel whose loop runs over them (docs/sparge.md, "What it costs").
struct ListCost {
  Cost dense;         // of that kernel
  double factor = 1;  // time per block, as a multiple of that kernel's
  double select = 0;  // seconds of the prediction for a block of queries, on the reference GPU
};

// Beside a kernel that was chosen because the problem is small, sparsity never pays.
constexpr int64_t kNeverSparse = int64_t{1} << 62;

struct KernelEntry {
  const char* name = nullptr;  // "mma_int8_f16/d128/bf16"
  int32_t head_dim = 0;        // channels it is compiled for; smaller ones are padded with zeros
  DType dtype = DType::kFloat16;
  int32_t query_tile = 0;      // queries of an item
  int32_t key_tile = 0;        // keys per tile: images are padded to a multiple of it
  int32_t streams = 1;         // items that an SM works on at once
  bool divides_items = false;  // by keys, where that fills the last round (attention/mma/parts.h)
  Precision qk = Precision::k16Bit, pv = Precision::k16Bit;
  cudaError_t (*launch)(const AttentionArgs&, cudaStream_t) = nullptr;  // enqueues it, returns the launch's own error

  // What it serves.
  Function function = Function::kExact;
  PvAccumDType accumulator = PvAccumDType::kDefault;  // of P V; kDefault: the option isn't read
  // Its function, asked for by name, may take it where no accumulator is named: the most accurate ones alone.
  bool serves_default = true;
  float largest_value = 448.f;   // of FP8: what the preparation makes of a channel's largest value
  bool per_thread_only = false;  // quantises per thread alone
  bool writes_vectors = false;   // o must allow 16-byte stores; without a preparation that sees to it
  bool serves_sageattn = false;  // sageattn takes it where it is the cheapest
  bool reads_masks = false;      // serves requests with a mask, and no others; others serve is_listed_mask
  bool takes_packed = false;     // serves packed sequences, too
  bool hides_keys = false;       // serves a mask of keys beside a causal one: its preparation takes their weight away
  // Whatever else it refuses, or null.
  Refusal (*refuses)(const KernelEntry&, const AttentionParams&, const AttentionArgs&) = nullptr;

  // How it is run: what lies in the workspace, and what is enqueued before it.
  const Preparation* preparation = nullptr;

  // What it takes, in seconds on `machine`: of entries that serve, the cheapest runs. estimate_seconds by `cost`, or a
  // model of its own.
  Cost cost;
  double (*seconds)(const KernelEntry&, const AttentionArgs&, const Machine& machine) = nullptr;

  ListCost lists;  // of an entry over lists of blocks

  // From so many keys on SpargeAttn is worth a try instead of this kernel (docs/sparge.md).
  int64_t sparse_from = 4096;
};

// An entry with what every kernel has.
template <int kD, DType T>
KernelEntry make_entry(const char* name, int32_t query_tile, int32_t key_tile,
                       cudaError_t (*launch)(const AttentionArgs&, cudaStream_t)) {
  KernelEntry e;
  e.name = name, e.head_dim = kD, e.dtype = T;
  e.query_tile = query_tile, e.key_tile = key_tile, e.launch = launch;
  return e;
}

// By the entry's own model.
double seconds_of(const KernelEntry& entry, const AttentionArgs& shape, const Machine& machine);

double estimate_seconds(const KernelEntry& entry, const AttentionArgs& shape, const Machine& machine);

// Over lists, where a share of the blocks is left out.
double sparse_seconds(const KernelEntry& entry, const AttentionArgs& shape, const Machine& machine, double share);

// Items of a kernel for a request, and those of them that it divides by keys on `machine`.
int32_t items_of(const KernelEntry& entry, const AttentionArgs& shape);
ItemParts parts_of(const KernelEntry& entry, const AttentionArgs& shape, const Machine& machine);

// All variants of this build, generated from variants.list into the build directory.
const KernelEntry* kernel_table(int32_t* count);

// Whether a request's only mask is one of keys, (b, lk).
bool is_key_mask(const AttentionParams& params, const AttentionArgs& shape);

// Whether lists of the keys that it shows can stand in for it: each query sees all of them. Any kernel serves that, but
// for those over blocks of keys.
bool is_listed_mask(const AttentionParams& params, const AttentionArgs& shape);

// Whether the entry serves a valid request.
Refusal refusal_of(const KernelEntry& entry, const AttentionParams& params, const AttentionArgs& shape);

// Functions as a set.
constexpr uint32_t one(Function f) { return 1u << static_cast<int>(f); }
constexpr uint32_t kSageFunctions = one(Function::kInt8F16) | one(Function::kInt8Fp8) | one(Function::kInt8Fp8Sm90);

// The cheapest entry of these functions that serves; if none does, why the one listed first doesn't.
Refusal cheapest(uint32_t functions, const AttentionParams& params, const AttentionArgs& shape, const Machine& machine,
                 const KernelEntry** chosen);

// The same for sageattn: the exact kernel stands in where no certain quantisation is asked for.
Refusal cheapest_sage(const AttentionParams& params, const AttentionArgs& shape, const Machine& machine,
                      const KernelEntry** chosen);

}  // namespace attn4j
