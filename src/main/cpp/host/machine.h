// The GPU that a choice is made for, as data.
#pragma once

#include <cstdint>

namespace attn4j {

struct Machine {
  int32_t multiprocessors = 132;
  // Relative to the GPU that the architecture's rates were measured on: of all that an SM does, and of its tensor
  // cores' peak besides.
  double clock = 1, tensor = 1;
};

// SMs of the GPU that rates and constants were measured on: an H100 SXM.
constexpr int32_t kReferenceSms = 132;

// What is known of this architecture's GPU with so many SMs.
Machine machine_of(int32_t multiprocessors);

// The current device's; where there is none, the reference GPU.
Machine current_machine();

// SMs of a device; asked once. 0 if it can't be asked.
int32_t multiprocessors_of(int device);

}  // namespace attn4j
