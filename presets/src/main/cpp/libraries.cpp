// Tables of functions, one for each library that is open, and for each function of libattn4j.so a trampoline of the
// same name that jumps through the table of the calling thread. The bindings are linked with the trampolines in place
// of the library. A table is filled by symbol names, and a trampoline leaves all arguments where they are: which
// functions there are, and what they take, is known to the list alone that the build makes of the library's exported
// symbols.
#include "libraries.h"

#include <dlfcn.h>

#include <atomic>
#include <cstdio>
#include <mutex>

#include "attn4j/attn4j.h"

#if !(defined(__x86_64__) || defined(__aarch64__)) || !defined(__linux__)
#error "the trampolines are written for Linux on x86_64 and arm64"
#endif

namespace {

// The build's list: ATTN4J_FUNCTION(number, symbol) for each.
constexpr const char* kSymbols[] = {
#define ATTN4J_FUNCTION(number, symbol) #symbol,
#include "attn4j_functions.inc"
#undef ATTN4J_FUNCTION
};
constexpr int32_t kFunctions = sizeof(kSymbols) / sizeof(kSymbols[0]);
constexpr int32_t kMaxLibraries = 16;
constexpr const char* kAbiVersion = "_ZN6attn4j11abi_versionEv";

void* tables[kMaxLibraries][kFunctions];
void* handles[kMaxLibraries];
std::atomic<int32_t> open_count{0};
std::mutex opening;

thread_local char error_text[1024] = "";

// Fills the next table. The caller holds the mutex.
int32_t adopt(void* handle, const char* name) {
  for (int32_t i = 0; i < open_count; i++) {
    if (handles[i] == handle) return i;
  }
  if (open_count == kMaxLibraries) {
    snprintf(error_text, sizeof error_text, "%d libraries are open, and no more are accepted", kMaxLibraries);
    return -1;
  }
  const auto abi_version = reinterpret_cast<int32_t (*)()>(dlsym(handle, kAbiVersion));
  const int32_t found = abi_version != nullptr ? abi_version() : 0;
  if (found != ATTN4J_ABI_VERSION) {
    snprintf(error_text, sizeof error_text, "%s has ABI version %d, the bindings have %d: use JARs of one version",
             name, found, ATTN4J_ABI_VERSION);
    return -1;
  }
  for (int32_t i = 0; i < kFunctions; i++) {
    tables[open_count][i] = dlsym(handle, kSymbols[i]);
    if (tables[open_count][i] == nullptr) {
      snprintf(error_text, sizeof error_text, "%s lacks the function %s: use JARs of one version", name, kSymbols[i]);
      return -1;
    }
  }
  handles[open_count] = handle;
  return open_count++;
}

// A program that uses the generated classes without asking the loader has loaded its library before them.
__attribute__((constructor)) void adopt_what_is_loaded() {
  void* handle = dlopen("libattn4j.so", RTLD_LAZY | RTLD_NOLOAD);
  if (handle != nullptr) adopt(handle, "libattn4j.so");
}

}  // namespace

extern "C" {
// What the trampolines jump through: a table, for each thread.
__attribute__((visibility("hidden"))) thread_local void* const* attn4j_table = tables[0];
}

namespace attn4j_libraries {

int32_t bindings_abi() noexcept { return ATTN4J_ABI_VERSION; }

int32_t open_library(const char* path) noexcept {
  const std::lock_guard<std::mutex> lock(opening);
  // Local: the libraries have the same names inside, and none may take another's.
  void* handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    snprintf(error_text, sizeof error_text, "%s", dlerror());
    return -1;
  }
  return adopt(handle, path);
}

const char* library_error() noexcept { return error_text; }

void use_library(int32_t number) noexcept {
  if (number >= 0 && number < open_count) attn4j_table = tables[number];
}

}  // namespace attn4j_libraries

// `attn4j_table[number](same arguments)`, as the body of a function. A TLS descriptor finds the thread's variable.
#if defined(__x86_64__)
// It changes no register but rax, which no function with a fixed number of arguments is passed anything in.
#define ATTN4J_JUMP(number)                   \
  "  subq $8, %rsp\n"                         \
  "  .cfi_adjust_cfa_offset 8\n"              \
  "  leaq attn4j_table@TLSDESC(%rip), %rax\n" \
  "  call *attn4j_table@TLSCALL(%rax)\n"      \
  "  addq $8, %rsp\n"                         \
  "  .cfi_adjust_cfa_offset -8\n"             \
  "  movq %fs:(%rax), %rax\n"                 \
  "  jmp *(8 * " #number ")(%rax)\n"
#else
// It changes x0, x1 and the link register alone, which are put back; x16 is a linker's to use between functions.
#define ATTN4J_JUMP(number)                       \
  "  stp x0, x1, [sp, #-32]!\n"                   \
  "  .cfi_adjust_cfa_offset 32\n"                 \
  "  str x30, [sp, #16]\n"                        \
  "  .cfi_rel_offset x30, 16\n"                   \
  "  adrp x0, :tlsdesc:attn4j_table\n"            \
  "  ldr x1, [x0, #:tlsdesc_lo12:attn4j_table]\n" \
  "  add x0, x0, #:tlsdesc_lo12:attn4j_table\n"   \
  "  .tlsdesccall attn4j_table\n"                 \
  "  blr x1\n"                                    \
  "  mrs x16, tpidr_el0\n"                        \
  "  ldr x16, [x16, x0]\n"                        \
  "  ldr x16, [x16, #(8 * " #number               \
  ")]\n"                                          \
  "  ldr x30, [sp, #16]\n"                        \
  "  .cfi_restore x30\n"                          \
  "  ldp x0, x1, [sp], #32\n"                     \
  "  .cfi_adjust_cfa_offset -32\n"                \
  "  br x16\n"
static_assert(kFunctions <= 4096, "a load reaches 4096 entries of a table on arm64");
#endif

#define ATTN4J_FUNCTION(number, symbol) \
  asm(".text\n"                         \
      ".p2align 4\n"                    \
      ".globl " #symbol                 \
      "\n"                              \
      ".hidden " #symbol                \
      "\n"                              \
      ".type " #symbol ", %function\n" #symbol ":\n" \
      "  .cfi_startproc\n" ATTN4J_JUMP(number) \
      "  .cfi_endproc\n"                \
      ".size " #symbol ", . - " #symbol "\n");
#include "attn4j_functions.inc"
