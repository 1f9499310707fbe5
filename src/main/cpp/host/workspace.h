// Scratch memory as a list of slices: the same plan gives the size that is asked for and the addresses that are used.
#pragma once

#include <cstdint>

namespace attn4j {

class WorkspacePlan {
 public:
  static constexpr int64_t kAlignment = 256;

  // Reserves a slice and returns its offset. Empty slices take no room.
  int64_t add(int64_t bytes) {
    const int64_t offset = size_;
    size_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
    return offset;
  }
  int64_t size() const { return size_; }

 private:
  int64_t size_ = 0;
};

template <class T>
T* slice(void* workspace, int64_t offset) {
  return reinterpret_cast<T*>(static_cast<char*>(workspace) + offset);
}

}  // namespace attn4j
