// The multiplies of a warpgroup that are under way.
#pragma once

#include <deque>
#include <map>
#include <vector>

#include "machine.h"

namespace emulation {

// wgmma.mma_async of a whole warpgroup.
struct Multiply {
  MatrixType type;
  int n;
  bool accumulates, transposed_b, a_in_registers;
  uint64_t a_descriptor, b_descriptor;
  std::vector<float> a;  // 64 x k, if it was in registers
  void* d;               // of the warpgroup's first thread: stands for all
  bool done = false;
};

// Accumulators that belong to multiplies under way: their registers hold poison until the wait.
struct Accumulator {
  std::vector<void*> registers;  // by thread
  int n = 0;
  bool is_int = false;
  std::vector<double> values;  // 64 x n
  int multiplies = 0;          // that aren't complete
};

struct Warpgroup {
  std::vector<Multiply> open;
  std::deque<std::vector<Multiply>> groups;
  std::map<void*, Accumulator> accumulators;
  bool fenced = false;
};

}  // namespace emulation
