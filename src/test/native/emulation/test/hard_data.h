// Data that is hard for quantised attention (bench/cpp/hard_data.cuh), and what rounding may be expected to do to it.
#pragma once

#include <cstdint>
#include <vector>

#include "test/problem.h"

namespace emulation_test {

// Element (row, channel) of tensor `which` (0 q, 1 k, 2 v) of a case with `hard` set; z is N(0,1).
float hard_number(const Case& c, int which, int64_t row, int64_t rows, int64_t channel, float z);

// The expected relative L1 error of one head; q, k and v are [row][channel]. As bench/cpp/hard_reference.cuh models it,
// but for Q's rounding, which is common to all keys.
double hard_model(const Case& c, bool fp8, double scale, const std::vector<double>& q, const std::vector<double>& k,
                  const std::vector<double>& v);

}  // namespace emulation_test
