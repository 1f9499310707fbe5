// The hook: our kernel of aten::scaled_dot_product_attention in the dispatcher of the libtorch of this process, and its
// switches. One per process. Never taken out again: a thread may be about to call it, so off means passing calls on.
#pragma once

#include <cstddef>
#include <cstdint>

#include "chain.h"

namespace attn4j_torch {

enum class Devices { kCuda, kCpu };  // the CPU only in tests, with a library whose kernels run there

// Registers the kernel. Idempotent for the same devices. Null, or one sentence that stays valid.
const char* install(Devices devices);

bool torch_is_loaded();

// The library for a device; device -1 is the CPU. Kept for good.
void set_kernels(int32_t device, const Kernels& kernels);

// What was set; null for a device without a library.
const Kernels* kernels_of(int32_t device);

void set_policy(const Policy& policy);  // of the process

// What counts for a call of this thread: the scope's or the process's. Null: switched off, or none was set.
const Policy* policy_now();

// A policy for the calling thread, in place of the process's; returns what counted before, for leave_scope.
const Policy* enter_scope(const Policy& policy);
void leave_scope(const Policy* before);

// Whether the calling thread's calls go to PyTorch untouched; returns what counted before.
bool set_passing(bool passing);

void set_enabled(bool enabled);
bool is_enabled();

void read_counts(int64_t counts[kOutcomes]);

// What became of the calling thread's last call: one sentence, or an empty one.
void explain_last(char* sentence, size_t size);

// Called once for each outcome, when it comes for the first time, on the thread of the call.
void set_listener(void (*listener)(Outcome outcome, const char* sentence));

}  // namespace attn4j_torch
