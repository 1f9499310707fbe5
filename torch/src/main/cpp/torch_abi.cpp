#include "torch_abi.h"

#include <atomic>
#include <cstdio>
#include <cstring>

#include "glibc_floor.h"

namespace attn4j_torch {
namespace {

// A JVM loads libraries locally, so that their names are in no global scope: each is asked for by itself, and must be
// there already.
void* loaded(const char* name) { return dlopen(name, RTLD_NOW | RTLD_NOLOAD); }

// Collects the names that are missing.
class Search {
 public:
  Search(char* problem, size_t size) : problem_(problem), size_(size) { problem_[0] = 0; }

  template <typename F>
  void want(F*& function, void* library, const char* name) {
    function = reinterpret_cast<F*>(dlsym(library, name));
    if (function != nullptr) return;
    size_t used = std::strlen(problem_);
    std::snprintf(problem_ + used, size_ - used, "%s%s", used == 0 ? "this libtorch lacks " : ", ", name);
  }

  bool complete() const { return problem_[0] == 0; }

 private:
  char* problem_;
  size_t size_;
};

void want_c_abi(TorchAbi& torch, Search& search, void* cpu) {
  search.want(torch.library_init_impl, cpu, "aoti_torch_library_init_impl");
  search.want(torch.library_impl, cpu, "aoti_torch_library_impl");
  search.want(torch.delete_tensor, cpu, "aoti_torch_delete_tensor_object");
  search.want(torch.new_undefined, cpu, "aoti_torch_new_uninitialized_tensor");
  search.want(torch.empty_strided, cpu, "aoti_torch_empty_strided");
  search.want(torch.data_ptr, cpu, "aoti_torch_get_data_ptr");
  search.want(torch.rank, cpu, "aoti_torch_get_dim");
  search.want(torch.sizes, cpu, "aoti_torch_get_sizes");
  search.want(torch.strides, cpu, "aoti_torch_get_strides");
  search.want(torch.dtype, cpu, "aoti_torch_get_dtype");
  search.want(torch.device_type, cpu, "aoti_torch_get_device_type");
  search.want(torch.device, cpu, "aoti_torch_get_device_index");
  search.want(torch.grad_enabled, cpu, "aoti_torch_grad_mode_is_enabled");
  search.want(torch.float16, cpu, "aoti_torch_dtype_float16");
  search.want(torch.bfloat16, cpu, "aoti_torch_dtype_bfloat16");
  search.want(torch.float32, cpu, "aoti_torch_dtype_float32");
  search.want(torch.boolean, cpu, "aoti_torch_dtype_bool");
  search.want(torch.uint8, cpu, "aoti_torch_dtype_uint8");
  search.want(torch.cpu, cpu, "aoti_torch_device_type_cpu");
  search.want(torch.cuda, cpu, "aoti_torch_device_type_cuda");
}

void want_cpp(TorchAbi& torch, Search& search, void* cpu, void* c10) {
  search.want(torch.original, cpu,
              "_ZN2at6native28scaled_dot_product_attentionERKNS_6TensorES3_S3_RKSt8optionalIS1_EdbS4_IdEb");
  search.want(torch.requires_grad, c10, "_ZNK3c1010TensorImpl13requires_gradEv");
  search.want(torch.has_storage, c10, "_ZNK3c1010TensorImpl11has_storageEv");
  search.want(torch.forward_grad, c10, "_ZNK3c1010TensorImpl8_fw_gradEmRKN2at10TensorBaseE");
  search.want(torch.is_negated, cpu, "_ZN2at6native6is_negERKNS_6TensorE");
  search.want(torch.is_zero, cpu, "_ZN2at6native14_is_zerotensorERKNS_6TensorE");
  search.want(torch.context, cpu, "_ZN2at13globalContextEv");
  search.want(torch.flash_enabled, cpu, "_ZNK2at7Context19userEnabledFlashSDPEv");
  search.want(torch.efficient_enabled, cpu, "_ZNK2at7Context26userEnabledMemEfficientSDPEv");
  search.want(torch.cudnn_enabled, cpu, "_ZNK2at7Context19userEnabledCuDNNSDPEv");
  search.want(torch.math_enabled, cpu, "_ZNK2at7Context18userEnabledMathSDPEv");
}

}  // namespace

bool TorchAbi::open(char* problem, size_t size) {
  void* cpu = loaded("libtorch_cpu.so");
  void* c10 = loaded("libc10.so");
  if (cpu == nullptr || c10 == nullptr) {
    std::snprintf(problem, size, "libtorch is not loaded in this process");
    return false;
  }
  Search search(problem, size);
  want_c_abi(*this, search, cpu);
  want_cpp(*this, search, cpu, c10);
  library_impl_versioned = reinterpret_cast<decltype(library_impl_versioned)>(dlsym(cpu, "torch_library_impl"));
  delete_box = reinterpret_cast<decltype(delete_box)>(dlsym(cpu, "torch_delete_stable_ivalue"));
  return search.complete();
}

bool TorchAbi::current_stream(int32_t device, void** stream) {
  using CurrentStream = Error (*)(int32_t, void**);
  static std::atomic<CurrentStream> function{nullptr};
  CurrentStream known = function.load(std::memory_order_acquire);
  if (known == nullptr) {
    void* cuda = loaded("libtorch_cuda.so");
    if (cuda == nullptr) return false;
    known = reinterpret_cast<CurrentStream>(dlsym(cuda, "aoti_torch_get_current_cuda_stream"));
    if (known == nullptr) return false;
    function.store(known, std::memory_order_release);
  }
  return known(device, stream) == 0;
}

}  // namespace attn4j_torch
