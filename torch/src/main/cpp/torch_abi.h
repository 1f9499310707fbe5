// The part of libtorch that the hook calls, declared here and looked up by name when the hook is installed: the binary
// links nothing of libtorch and needs none of its headers, so one binary serves every libtorch that has these names.
//
// Three groups, by who promises them:
//   - libtorch's stable C ABI (aoti_torch_*, torch_*): PyTorch keeps a function for two years after its release;
//   - the operator's own kernel, and a few questions to tensors and to the context: C++ functions by their mangled
//   names,
//     which hold their argument types, so that a changed signature is a missing name;
//   - what only newer versions have: null before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

namespace attn4j_torch {

using Word = uint64_t;  // StableIValue: one argument or result of a boxed kernel
using Handle = void*;   // AtenTensorHandle: the address of an at::Tensor on the heap
using Error = int32_t;  // 0: success
using BoxedFn = void (*)(Word* stack, uint64_t inputs, uint64_t outputs);

// An at::Tensor seen from outside: one counted pointer, not trivially copyable, so that it is returned through memory.
// This one counts nothing: it borrows.
struct TensorSlot {
  void* impl = nullptr;
  TensorSlot() = default;
  TensorSlot(const TensorSlot& other) : impl(other.impl) {}
  TensorSlot& operator=(const TensorSlot&) = delete;
  ~TensorSlot() {}
};

struct TorchAbi {
  // The stable C ABI.
  Error (*library_init_impl)(const char* ns, const char* key, const char* file, uint32_t line, void** library);
  Error (*library_impl)(void* library, const char* name, BoxedFn kernel);
  Error (*delete_tensor)(Handle);
  Error (*new_undefined)(Handle*);
  Error (*empty_strided)(int64_t rank, const int64_t* sizes, const int64_t* strides, int32_t dtype, int32_t device_type,
                         int32_t device, Handle*);
  Error (*data_ptr)(Handle, void**);
  Error (*rank)(Handle, int64_t*);
  Error (*sizes)(Handle, int64_t**);
  Error (*strides)(Handle, int64_t**);
  Error (*dtype)(Handle, int32_t*);
  Error (*device_type)(Handle, int32_t*);
  Error (*device)(Handle, int32_t*);
  bool (*grad_enabled)();
  int32_t (*float16)();
  int32_t (*bfloat16)();
  int32_t (*float32)();
  int32_t (*boolean)();
  int32_t (*uint8)();
  int32_t (*cpu)();
  int32_t (*cuda)();

  // C++ by mangled names. The first is the operator's own composite kernel: it picks among PyTorch's kernels, builds
  // the autograd graph and throws PyTorch's exceptions.
  TensorSlot (*original)(const TensorSlot& q, const TensorSlot& k, const TensorSlot& v,
                         const std::optional<TensorSlot>& mask, double dropout, bool causal,
                         std::optional<double> scale, bool gqa);
  bool (*requires_grad)(const void* impl);
  bool (*has_storage)(const void* impl);
  const TensorSlot& (*forward_grad)(const void* impl, uint64_t level, const TensorSlot& self);
  bool (*is_negated)(const TensorSlot&);
  bool (*is_zero)(const TensorSlot&);
  void* (*context)();
  bool (*flash_enabled)(const void* context);
  bool (*efficient_enabled)(const void* context);
  bool (*cudnn_enabled)(const void* context);
  bool (*math_enabled)(const void* context);

  // Of newer versions.
  Error (*library_impl_versioned)(void* library, const char* name, BoxedFn kernel, uint64_t version);  // 2.10
  Error (*delete_box)(Word*);  // 2.13; before, the box of an optional is plain new and delete

  // Looks everything up. False with one sentence in `problem` if this process has no libtorch, or one that lacks a
  // name.
  bool open(char* problem, size_t size);

  // The calling thread's current stream; false if this libtorch has no CUDA half. libtorch_cuda.so may be loaded after
  // the hook was installed, so it is looked for at the first CUDA tensor.
  bool current_stream(int32_t device, void** stream);
};

// An owned handle.
class Owned {
 public:
  explicit Owned(const TorchAbi& torch, Handle handle = nullptr) : torch_(torch), handle_(handle) {}
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
  ~Owned() {
    if (handle_ != nullptr) torch_.delete_tensor(handle_);
  }
  Handle get() const { return handle_; }
  const TensorSlot& slot() const { return *static_cast<const TensorSlot*>(handle_); }
  Handle* out() { return &handle_; }
  Handle release() {
    Handle handle = handle_;
    handle_ = nullptr;
    return handle;
  }

 private:
  const TorchAbi& torch_;
  Handle handle_;
};

}  // namespace attn4j_torch
