// What an emulated CUtensorMap holds: a tensor of 16-bit elements and the box that one copy moves (CUDA driver API,
// "cuTensorMapEncodeTiled"; PTX ISA, "Tensors").
#pragma once

#include <cstdint>

namespace emulation {

struct alignas(64) TensorMap {
  static constexpr uint64_t kMark = 0x74656e736f72206dull;
  uint64_t mark;
  char* data;
  uint64_t sizes[4], strides[3];  // elements; bytes
  uint32_t box[4], rank, swizzle_bytes;

  void check() const;
  uint32_t box_bytes() const { return 2 * box[0] * box[1] * box[2] * box[3]; }
  // Writes a box to shared memory at `target`, whose address decides the swizzle.
  void load_box(char* target, uint32_t address, const int32_t (&origin)[4]) const;
};
static_assert(sizeof(TensorMap) == 128);

// The 16-byte pieces of 8 lines of 128 bytes (4 pairs of lines of 64) change places: bits of the address that count
// lines are added, without carry, to those that count pieces.
inline uint32_t swizzled(uint32_t address, uint32_t swizzle_bytes) {
  return swizzle_bytes == 0 ? address : address ^ ((address >> 7 & (swizzle_bytes / 16 - 1)) << 4);
}

}  // namespace emulation
