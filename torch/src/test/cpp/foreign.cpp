// Calls attention on a thread that the JVM doesn't know, as libtorch's own pools do: the native method of
// org.attn4j.torch.ForeignProgram.
#include <dlfcn.h>
#include <jni.h>

#include <cstdint>
#include <cstring>
#include <thread>

namespace {

using Word = uint64_t;
using Handle = void*;

Handle new_handle(void* cpu, jlong tensor) {
  auto copy = reinterpret_cast<int32_t (*)(Handle, Handle*)>(dlsym(cpu, "aoti_torch_new_tensor_handle"));
  Handle handle = nullptr;
  copy(reinterpret_cast<Handle>(tensor), &handle);
  return handle;
}

void call(jlong q, jlong k, int times, int* failures) {
  void* cpu = dlopen("libtorch_cpu.so", RTLD_NOW | RTLD_NOLOAD);
  auto dispatch =
      reinterpret_cast<int32_t (*)(const char*, const char*, Word*)>(dlsym(cpu, "aoti_torch_call_dispatcher"));
  auto free_tensor = reinterpret_cast<int32_t (*)(Handle)>(dlsym(cpu, "aoti_torch_delete_tensor_object"));
  auto set_grad = reinterpret_cast<void (*)(bool)>(dlsym(cpu, "aoti_torch_grad_mode_set_enabled"));
  set_grad(false);
  for (int i = 0; i < times; i++) {
    Word stack[8] = {};
    stack[0] = reinterpret_cast<Word>(new_handle(cpu, q));
    stack[1] = reinterpret_cast<Word>(new_handle(cpu, k));
    stack[2] = reinterpret_cast<Word>(new_handle(cpu, k));
    if (dispatch("aten::scaled_dot_product_attention", "", stack) != 0) {
      ++*failures;
    } else {
      free_tensor(reinterpret_cast<Handle>(stack[0]));
    }
  }
}

}  // namespace

extern "C" JNIEXPORT jint JNICALL Java_org_attn4j_torch_ForeignProgram_call(JNIEnv*, jclass, jlong q, jlong k,
                                                                            jint times) {
  int failures = 0;
  std::thread thread(call, q, k, times, &failures);
  thread.join();
  return failures;
}
