// Random masks of a case: in emulated device memory, and as numbers.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "attn4j/attn4j.h"

namespace emulation_test {

struct Case;

class TestMasks {
 public:
  // Makes those that the case asks for; `allocate` gives device memory.
  void make(const Case& c, const std::function<void*(int64_t)>& allocate, attn4j::AttentionParams* params);
  // What is added to a scaled score; -inf: hidden.
  double addend(int64_t batch, int64_t head, int64_t row, int64_t key) const;
  // Whether no query of the heads that read a KV head sees a key.
  bool hides(const Case& c, int64_t batch, int64_t kv_head, int64_t key) const;

 private:
  struct Plane {
    std::vector<double> values;  // by stride
    int64_t stride[4] = {};
    double at(int64_t batch, int64_t head, int64_t row, int64_t key) const {
      return values[static_cast<size_t>(batch * stride[0] + head * stride[1] + row * stride[2] + key * stride[3])];
    }
  };
  static int64_t lay_out(const Case& c, int repeats, Plane* plane);

  Plane seen_, bias_;  // empty: there is none
  attn4j::KeyWindow window_;
  int64_t offset_ = 0;
};

}  // namespace emulation_test
