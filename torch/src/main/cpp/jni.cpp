// The native methods of org.attn4j.torch.HookLibrary.
#include <jni.h>

#include <cstring>

#include "glibc_floor.h"
#include "hook.h"
#include "ort_op.h"

namespace {

using namespace attn4j_torch;

JavaVM* vm = nullptr;
jclass library_class = nullptr;
jmethodID first_time = nullptr;

jstring text(JNIEnv* env, const char* value) { return value == nullptr ? nullptr : env->NewStringUTF(value); }

// On whatever thread the call came: one of the JVM, or one of libtorch's that it doesn't know.
void tell_java(Outcome outcome, const char* sentence) {
  JNIEnv* env = nullptr;
  bool attached = false;
  if (vm->GetEnv(reinterpret_cast<void**>(&env), JNI_VERSION_1_8) == JNI_EDETACHED) {
    if (vm->AttachCurrentThreadAsDaemon(reinterpret_cast<void**>(&env), nullptr) != JNI_OK) return;
    attached = true;
  }
  if (env == nullptr) return;
  if (!env->ExceptionCheck()) {
    jstring told = env->NewStringUTF(sentence);
    if (told != nullptr) {
      env->CallStaticVoidMethod(library_class, first_time, static_cast<jint>(outcome), told);
      env->DeleteLocalRef(told);
    }
    env->ExceptionClear();  // logging must not break the program's attention
  }
  if (attached) vm->DetachCurrentThread();
}

jstring JNICALL jni_install(JNIEnv* env, jclass, jboolean cpu) {
  return text(env, install(cpu ? Devices::kCpu : Devices::kCuda));
}

jboolean JNICALL jni_torch_is_loaded(JNIEnv*, jclass) { return torch_is_loaded(); }

// The addresses of functions of a library, 0 for those it lacks; null if it can't be opened.
jlongArray JNICALL jni_lookup(JNIEnv* env, jclass, jstring path, jobjectArray names) {
  const char* path_chars = env->GetStringUTFChars(path, nullptr);
  void* library = dlopen(path_chars, RTLD_NOW | RTLD_LOCAL);
  env->ReleaseStringUTFChars(path, path_chars);
  if (library == nullptr) return nullptr;
  jsize count = env->GetArrayLength(names);
  jlongArray addresses = env->NewLongArray(count);
  for (jsize i = 0; addresses != nullptr && i < count; i++) {
    auto name = static_cast<jstring>(env->GetObjectArrayElement(names, i));
    const char* name_chars = env->GetStringUTFChars(name, nullptr);
    jlong address = reinterpret_cast<jlong>(dlsym(library, name_chars));
    env->ReleaseStringUTFChars(name, name_chars);
    env->DeleteLocalRef(name);
    env->SetLongArrayRegion(addresses, i, 1, &address);
  }
  return addresses;
}

jboolean JNICALL jni_set_kernels(JNIEnv* env, jclass, jint device, jint capability, jlongArray functions) {
  if (env->GetArrayLength(functions) != kKernelFunctions) return JNI_FALSE;
  jlong addresses[kKernelFunctions];
  env->GetLongArrayRegion(functions, 0, kKernelFunctions, addresses);
  Kernels kernels{};
  static_assert(offsetof(Kernels, compute_capability) == kKernelFunctions * sizeof(jlong), "pointers, then one number");
  std::memcpy(static_cast<void*>(&kernels), addresses, sizeof addresses);
  kernels.compute_capability = capability;
  set_kernels(device, kernels);
  return JNI_TRUE;
}

bool read_policy(JNIEnv* env, jintArray values, Policy* policy) {
  jsize length = env->GetArrayLength(values);
  constexpr jsize kFixed = offsetof(Policy, rule) / sizeof(jint);
  if (length < kFixed || length > static_cast<jsize>(sizeof(Policy) / sizeof(jint))) return false;
  env->GetIntArrayRegion(values, 0, length, reinterpret_cast<jint*>(policy));
  return length == kFixed + policy->rules * static_cast<jsize>(sizeof(Rule) / sizeof(jint));
}

jboolean JNICALL jni_set_policy(JNIEnv* env, jclass, jintArray values) {
  Policy policy{};
  if (!read_policy(env, values, &policy)) return JNI_FALSE;
  set_policy(policy);
  return JNI_TRUE;
}

// -1 if the policy doesn't fit.
jlong JNICALL jni_enter_scope(JNIEnv* env, jclass, jintArray values) {
  Policy policy{};
  if (!read_policy(env, values, &policy)) return -1;
  return reinterpret_cast<jlong>(enter_scope(policy));
}

void JNICALL jni_leave_scope(JNIEnv*, jclass, jlong before) { leave_scope(reinterpret_cast<const Policy*>(before)); }

jboolean JNICALL jni_set_passing(JNIEnv*, jclass, jboolean passing) { return set_passing(passing != JNI_FALSE); }

void JNICALL jni_set_enabled(JNIEnv*, jclass, jboolean enabled) { set_enabled(enabled != JNI_FALSE); }

jboolean JNICALL jni_is_enabled(JNIEnv*, jclass) { return is_enabled(); }

jlongArray by_outcome(JNIEnv* env, void (*read)(int64_t*)) {
  int64_t counts[kOutcomes];
  read(counts);
  jlong values[kOutcomes];
  for (int i = 0; i < kOutcomes; i++) values[i] = counts[i];
  jlongArray array = env->NewLongArray(kOutcomes);
  if (array != nullptr) env->SetLongArrayRegion(array, 0, kOutcomes, values);
  return array;
}

jstring explained(JNIEnv* env, void (*explain)(char*, size_t)) {
  char sentence[512];
  explain(sentence, sizeof sentence);
  return env->NewStringUTF(sentence);
}

jlongArray JNICALL jni_counts(JNIEnv* env, jclass) { return by_outcome(env, read_counts); }
jstring JNICALL jni_explain_last(JNIEnv* env, jclass) { return explained(env, explain_last); }
jlongArray JNICALL jni_ort_counts(JNIEnv* env, jclass) { return by_outcome(env, ort::read_counts); }
jstring JNICALL jni_ort_explain_last(JNIEnv* env, jclass) { return explained(env, ort::explain_last); }

jstring JNICALL jni_outcome_name(JNIEnv* env, jclass, jint outcome) {
  return outcome < 0 || outcome >= kOutcomes ? nullptr : env->NewStringUTF(name_of(static_cast<Outcome>(outcome)));
}

jint JNICALL jni_abi_version(JNIEnv*, jclass) { return ATTN4J_ABI_VERSION; }

template <typename F>
JNINativeMethod method(const char* name, const char* signature, F* function) {
  return {const_cast<char*>(name), const_cast<char*>(signature), reinterpret_cast<void*>(function)};
}

bool register_methods(JNIEnv* env) {
  const JNINativeMethod methods[] = {
      method("install", "(Z)Ljava/lang/String;", jni_install),
      method("torchIsLoaded", "()Z", jni_torch_is_loaded),
      method("lookup", "(Ljava/lang/String;[Ljava/lang/String;)[J", jni_lookup),
      method("setKernels", "(II[J)Z", jni_set_kernels),
      method("setPolicy", "([I)Z", jni_set_policy),
      method("enterScope", "([I)J", jni_enter_scope),
      method("leaveScope", "(J)V", jni_leave_scope),
      method("setPassing", "(Z)Z", jni_set_passing),
      method("setEnabled", "(Z)V", jni_set_enabled),
      method("isEnabled", "()Z", jni_is_enabled),
      method("counts", "()[J", jni_counts),
      method("explainLast", "()Ljava/lang/String;", jni_explain_last),
      method("ortCounts", "()[J", jni_ort_counts),
      method("ortExplainLast", "()Ljava/lang/String;", jni_ort_explain_last),
      method("outcomeName", "(I)Ljava/lang/String;", jni_outcome_name),
      method("abiVersion", "()I", jni_abi_version),
  };
  return env->RegisterNatives(library_class, methods, sizeof methods / sizeof methods[0]) == JNI_OK;
}

}  // namespace

// Comes from HookLibrary itself, or from a program that was told to load this library, such as DJL by
// PYTORCH_EXTRA_LIBRARY_PATH: then this is where the hook gets installed. Without our classes there are no kernels
// either, and the library does nothing.
extern "C" JNIEXPORT jint JNICALL JNI_OnLoad(JavaVM* java, void*) {
  vm = java;
  JNIEnv* env = nullptr;
  if (java->GetEnv(reinterpret_cast<void**>(&env), JNI_VERSION_1_8) != JNI_OK) return JNI_ERR;
  jclass found = env->FindClass("org/attn4j/torch/HookLibrary");
  if (found == nullptr) {
    env->ExceptionClear();
    return JNI_VERSION_1_8;
  }
  library_class = static_cast<jclass>(env->NewGlobalRef(found));
  first_time = env->GetStaticMethodID(library_class, "firstTime", "(ILjava/lang/String;)V");
  jmethodID ready = env->GetStaticMethodID(library_class, "ready", "()V");
  if (first_time == nullptr || ready == nullptr || !register_methods(env)) return JNI_ERR;
  set_listener(tell_java);
  env->CallStaticVoidMethod(library_class, ready);
  env->ExceptionClear();
  return JNI_VERSION_1_8;
}
