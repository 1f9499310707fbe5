// The part of ONNX Runtime's C API that the custom operator calls, declared here: the binary links nothing of ONNX
// Runtime and needs none of its headers. OrtApi is a table that only grows at its end, and OrtCustomOp says by its
// version how much of it there is, so one binary serves ONNX Runtime 1.16 and newer. The places in the table are those
// of onnxruntime_c_api.h, which promises that they stay.
#pragma once

#include <cstddef>
#include <cstdint>

namespace attn4j_torch::ort {

constexpr uint32_t kVersion = 16;  // of the API

struct Status;  // null: success

struct ApiBase {
  void* const* (*api)(uint32_t version);
  const char* (*version)();
};

// Types of elements.
constexpr int kUndefined = 0, kFloat32 = 1, kInt32 = 6, kFloat16 = 10, kBFloat16 = 16;
// Types of attributes, and a code of errors.
constexpr int kInt = 1, kFloat = 3, kFail = 1;

struct Api {
  Status* (*create_status)(int code, const char* message);
  const char* (*error_message)(const Status*);
  void (*release_status)(Status*);

  Status* (*create_domain)(const char* name, void** domain);
  Status* (*domain_add)(void* domain, const void* op);
  Status* (*add_domain)(void* session_options, void* domain);

  // Of a node: `info`.
  Status* (*float_attribute)(const void* info, const char* name, float*);
  Status* (*int_attribute)(const void* info, const char* name, int64_t*);
  Status* (*node_inputs)(const void* info, size_t*);
  Status* (*node_outputs)(const void* info, size_t*);
  Status* (*input_type)(const void* info, size_t index, void** type_info);
  Status* (*tensor_info)(const void* type_info, const void** shape);  // belongs to type_info
  void (*release_type_info)(void*);

  // Of a call: `context`. An optional value that isn't there is null.
  Status* (*input)(const void* context, size_t index, const void** value);
  Status* (*output)(void* context, size_t index, const int64_t* size, size_t rank, void** value);
  Status* (*stream)(const void* context, void** stream);
  Status* (*allocator)(const void* context, const void* memory_info, void** allocator);
  Status* (*allocate)(void* allocator, size_t bytes, void** memory);
  Status* (*free)(void* allocator, void* memory);
  void (*release_allocator)(void*);

  // Of a tensor: `value`.
  Status* (*data)(void* value, void** data);
  Status* (*shape)(const void* value, void** shape);
  Status* (*element_type)(const void* shape, int*);
  Status* (*rank)(const void* shape, size_t*);
  Status* (*sizes)(const void* shape, int64_t*, size_t rank);
  void (*release_shape)(void*);
  Status* (*memory_info)(const void* value, const void** memory_info);
  Status* (*memory_id)(const void* memory_info, int* device);

  // ONNX Runtime's own kernels.
  Status* (*create_attribute)(const char* name, const void* data, int length, int type, void** attribute);
  void (*release_attribute)(void*);
  Status* (*create_op)(const void* info, const char* name, const char* domain, int version, const char** types,
                       const int* type_values, int type_count, const void* const* attributes, int attribute_count,
                       int input_count, int output_count, void** op);
  Status* (*invoke_op)(const void* context, const void* op, const void* const* inputs, int input_count,
                       void* const* outputs, int output_count);
  void (*release_op)(void*);
};

// False if this ONNX Runtime is older than 1.16.
bool open(const ApiBase* base, Api* api);

// OrtCustomOp of version 16.
struct CustomOp {
  uint32_t version;
  void* (*create_kernel)(const CustomOp*, const void* api, const void* info);
  const char* (*name)(const CustomOp*);
  const char* (*provider)(const CustomOp*);
  int (*type_of_input)(const CustomOp*, size_t);
  size_t (*inputs)(const CustomOp*);
  int (*type_of_output)(const CustomOp*, size_t);
  size_t (*outputs)(const CustomOp*);
  void (*compute)(void* kernel, void* context);
  void (*destroy)(void* kernel);
  int (*character_of_input)(const CustomOp*, size_t);   // 0 required, 1 optional
  int (*character_of_output)(const CustomOp*, size_t);  // likewise
  int (*memory_of_input)(const CustomOp*, size_t);      // 0: the provider's
  int (*variadic[4])(const CustomOp*);
  Status* (*create_kernel_v2)(const CustomOp*, const void* api, const void* info, void** kernel);
  Status* (*compute_v2)(void* kernel, void* context);
};

}  // namespace attn4j_torch::ort
