// From the public parameters to what kernels read. All checks of shapes, strides and options are here; kernels check
// nothing.
#pragma once

#include "attention/arguments.h"
#include "attn4j/attn4j.h"
#include "quant/quantize.h"

namespace attn4j {

// A 4-D tensor with the layout resolved.
struct Shape {
  int64_t batch, heads, rows, head_dim;
};
Shape shape_of(const TensorView& t, TensorLayout layout);
Strides strides_of(const TensorView& t, TensorLayout layout);
RowsView rows_view(const TensorView& t, TensorLayout layout);

// True if 16-byte accesses to whole rows are possible.
bool is_vector_aligned(const TensorView& t, TensorLayout layout);

// Checks one tensor by itself: sizes, strides, data pointer, dtype. `name` starts the sentence.
Status validate_tensor(const TensorView& t, TensorLayout layout, const char* name);

// Checks the whole request and fills the layout-free part of `args`: everything but the quantised inputs.
Status validate_attention(const AttentionParams& params, AttentionArgs* args);

// Checks that the output doesn't begin where an input does.
Status validate_output(const void* o, const void* q, const void* k, const void* v);

// Checks the workspace against what the plan needs.
Status validate_workspace(const Workspace& workspace, int64_t needed);

// Checks that the addresses are device memory of one device, and returns that device.
struct NamedAddress {
  const char* name;
  const void* address;  // null: not given, not checked
};
Status validate_device(const NamedAddress* addresses, int count, int* device);

// Makes a device current for a scope.
class DeviceScope {
 public:
  explicit DeviceScope(int device);
  ~DeviceScope();
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;
  cudaError_t error() const { return error_; }

 private:
  int previous_ = -1;
  cudaError_t error_;
};

}  // namespace attn4j
