// Attention under a transform of functorch, as torch.func makes it: the native methods of
// org.attn4j.torch.FunctorchTest. Transforms are C++ functions of libtorch, found by their mangled names.
#include <dlfcn.h>
#include <jni.h>

#include <cstdint>
#include <optional>

namespace {

using Word = uint64_t;
using Handle = void*;

// Classes of libtorch by what a call needs of them: one counted pointer, one number, or enough room.
struct Tensor {
  void* impl = nullptr;
  Tensor() = default;
  Tensor(const Tensor& other) : impl(other.impl) {}
  ~Tensor() {}
};
struct SymInt {
  int64_t number;
  explicit SymInt(int64_t value) : number(value) {}
  SymInt(const SymInt& other) : number(other.number) {}
  ~SymInt() {}
};
struct DynamicLayer {  // what popping returns; never destroyed: a few bytes per test
  alignas(16) char room[1024];
  DynamicLayer(const DynamicLayer&) {}
  ~DynamicLayer() {}
};
enum class Transform : int { kVmap = 1, kGrad = 2 };
enum class Randomness : int { kError = 0 };
using Flag = std::optional<bool>;

template <typename F>
F* find(const char* name) {
  return reinterpret_cast<F*>(dlsym(dlopen("libtorch_cpu.so", RTLD_NOW | RTLD_NOLOAD), name));
}

int64_t push(Transform transform, int64_t batch) {
  auto* function = find<int64_t(Transform, std::optional<SymInt>, std::optional<Randomness>, Flag, Flag, Flag)>(
      "_ZN2at9functorch23initAndPushDynamicLayerENS0_13TransformTypeESt8optionalIN3c106SymIntEES2_INS0_"
      "14RandomnessTypeEES2_IbES8_S8_");
  if (transform == Transform::kVmap) {
    return function(transform, SymInt(batch), Randomness::kError, std::nullopt, std::nullopt, std::nullopt);
  }
  return function(transform, std::nullopt, std::nullopt, true, std::nullopt, std::nullopt);
}

void pop() { find<DynamicLayer()>("_ZN2at9functorch32popDynamicLayerAndDeleteMetadataEv")(); }

// q's first dimension becomes one that the operator doesn't see.
void batch(Handle q, int64_t level) {
  auto* function = find<Tensor(Tensor, int64_t, int64_t)>("_ZN2at9functorch11makeBatchedENS_6TensorEll");
  Tensor& slot = *static_cast<Tensor*>(q);
  Tensor batched = function(slot, 0, level);
  slot.impl = batched.impl;
}

}  // namespace

// The handle of softmax(q q^T) q under the transform, or 0 if PyTorch failed.
extern "C" JNIEXPORT jlong JNICALL Java_org_attn4j_torch_FunctorchTest_attend(JNIEnv*, jclass, jlong tensor,
                                                                              jint transform, jlong size) {
  auto* copy = find<int32_t(Handle, Handle*)>("aoti_torch_new_tensor_handle");
  auto* dispatch = find<int32_t(const char*, const char*, Word*)>("aoti_torch_call_dispatcher");
  Word stack[8] = {};
  const Transform kind = static_cast<Transform>(transform);
  const int64_t level = push(kind, size);
  for (int i = 0; i < 3; i++) {
    Handle handle = nullptr;
    copy(reinterpret_cast<Handle>(tensor), &handle);
    if (kind == Transform::kVmap) batch(handle, level);
    stack[i] = reinterpret_cast<Word>(handle);
  }
  const int32_t status = dispatch("aten::scaled_dot_product_attention", "", stack);
  pop();
  return status == 0 ? static_cast<jlong>(stack[0]) : 0;
}
