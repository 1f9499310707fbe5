// Several libattn4j.so in one process: one for each kind of GPU in it. Each is whole, with kernels for one
// architecture, and all have the same functions; the bindings' calls go to the one that the calling thread has chosen.
#pragma once

#include <cstdint>

namespace attn4j_libraries {

// ATTN4J_ABI_VERSION of the headers that the bindings were built with.
int32_t bindings_abi() noexcept;

// Opens a library and gives it a number; the same file has the same number each time. Number 0 serves threads that have
// chosen none: a library that was loaded before the bindings, or else the first that is opened. Returns -1 with the
// reason in library_error() if the file can't be loaded or is of another version. It stays open.
int32_t open_library(const char* path) noexcept;

// The reason for the last -1 on this thread.
const char* library_error() noexcept;

// From now on this thread's calls go to that library: a number that open_library returned.
void use_library(int32_t number) noexcept;

}  // namespace attn4j_libraries
