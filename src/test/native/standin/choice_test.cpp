// What sageattn picks on GPUs without Hopper's kernels, and which accumulators each function has: built once for each
// ATTN4J_SM, against the stand-in for CUDA. docs/mma.md has the table.
#include <cstdio>
#include <cstring>
#include <set>
#include <string>
#include <utility>

#include "attn4j/plan.h"
#include "host/machine.h"
#include "host/recipe.h"
#include "standin.h"

using namespace attn4j;

namespace {

int checks = 0, failures = 0;

void expect(bool condition, const std::string& what) {
  checks++;
  if (condition) return;
  failures++;
  std::fprintf(stderr, "FAILED on %d: %s (last_error: %s)\n", ATTN4J_SM, what.c_str(), last_error());
}

TensorView view(int place, int64_t heads, int64_t rows, int64_t d) {
  TensorView t;
  t.data = reinterpret_cast<void*>(uintptr_t{1} << 34 << place);
  const int64_t sizes[4] = {2, heads, rows, d}, strides[4] = {heads * rows * d, rows * d, d, 1};
  for (int i = 0; i < 4; i++) t.size[i] = sizes[i], t.stride[i] = strides[i];
  return t;
}

// The kernel's name; empty if none serves.
std::string kernel(AttentionFunction function, int64_t length, PvAccumDType accumulator = PvAccumDType::kDefault,
                   int64_t d = 128) {
  PlanRequest r;
  r.attention.q = view(0, 16, length, d), r.attention.k = view(1, 16, length, d);
  r.attention.v = view(2, 16, length, d), r.attention.o = view(3, 16, length, d);
  r.attention.pv_accum_dtype = accumulator;
  r.function = function;
  r.device = 0;
  r.multiprocessors = 128;
  PlanHandle plan;
  PlanFacts facts;
  if (plan_attention(r, &plan, &facts) != Status::kOk) return "";
  const std::string name = facts.kernel;
  PlanAddresses a;
  a.q = r.attention.q.data, a.k = r.attention.k.data, a.v = r.attention.v.data, a.o = r.attention.o.data;
  a.workspace = {reinterpret_cast<void*>(uintptr_t{1} << 40), facts.workspace_size};
  standin::take_launches();
  expect(run_plan(plan, a, nullptr) == Status::kOk, name + " runs");
  const int32_t launches = standin::take_launches();
  expect(launches == facts.launches && launches <= 6, name + ": as many launches as planned, six at most");
  return name.substr(0, name.find('/'));
}

constexpr auto kSage = AttentionFunction::kSageattn, kF16 = AttentionFunction::kSageattnInt8Fp16;
constexpr auto kFp8 = AttentionFunction::kSageattnInt8Fp8;

void test_choice() {
  const char* large = ATTN4J_SM == 80 ? "mma_int8_f16" : ATTN4J_SM == 86 ? "mma_int8_acc16" : "mma_int8_fp8_acc16";
  for (const int64_t d : {64, 128}) {
    for (const int64_t length : {8192, 32768}) {
      expect(kernel(kSage, length, PvAccumDType::kDefault, d) == large, "a large problem takes " + std::string(large));
    }
    expect(kernel(kSage, 150, PvAccumDType::kDefault, d) == "exact_mma", "a small one is exact");
  }
  // A caller who names an accumulator gets it, and with that says whether FP8's error is welcome.
  expect(kernel(kSage, 8192, PvAccumDType::kFp16Fp32) == "mma_int8_acc16", "fp16+fp32: 16-bit P V");
  expect(kernel(kSage, 150, PvAccumDType::kFp16Fp32) == "mma_int8_acc16", "and at every size");
  expect(kernel(kSage, 8192, PvAccumDType::kFp32) == "mma_int8_f16", "fp32: 16-bit P V");
}

void test_functions() {
  expect(kernel(kF16, 8192) == "mma_int8_f16", "by default the most accurate accumulator");
  expect(kernel(kF16, 8192, PvAccumDType::kFp16Fp32) == "mma_int8_acc16", "fp16+fp32 by name");
  expect(kernel(kF16, 8192, PvAccumDType::kFp32Fp16).empty(), "an accumulator of FP8 is none of 16-bit P V");
  expect(std::strstr(last_error(),
                     "pv_accum_dtype: found fp32+fp16; sageattn_qk_int8_pv_fp16_cuda accumulates in fp32") != nullptr,
         "and says so");
  if (ATTN4J_SM >= 89) {
    expect(kernel(kFp8, 8192) == "mma_int8_fp8", "FP8 by default with fp32 accumulators");
    expect(kernel(kFp8, 8192, PvAccumDType::kFp32Fp16) == "mma_int8_fp8_acc16", "with fp16 ones by name");
    expect(kernel(kFp8, 8192, PvAccumDType::kFp16Fp32).empty(), "an accumulator of 16-bit P V is none of FP8");
  } else {
    expect(kernel(kFp8, 8192).empty(), "no FP8 before 8.9");
    expect(std::strstr(last_error(), "sageattn_qk_int8_pv_fp8_cuda is not built for this architecture") != nullptr,
           "and it says so");
  }
}

ItemParts parts_of_shape(int64_t heads, int64_t length, int64_t d, int32_t sms, bool causal = false) {
  int32_t count = 0;
  const KernelEntry* entries = kernel_table(&count);
  AttentionArgs a;
  a.batch = 1, a.heads_q = a.heads_kv = static_cast<int32_t>(heads);
  a.lq = a.lk = static_cast<int32_t>(length), a.head_dim = static_cast<int32_t>(d);
  if (causal) a.causal_offset = 0;
  for (int32_t i = 0; i < count; i++) {
    const KernelEntry& e = entries[i];
    if (std::strncmp(e.name, "mma_int8_f16", 12) == 0 && e.head_dim == d) return parts_of(e, a, machine_of(sms));
  }
  expect(false, "there is mma_int8_f16");
  return {};
}

// Which items are divided by keys; and that CTAs are all parts of all items, each once.
void test_parts() {
  if (ATTN4J_SM == 80) {  // rates as on the H200 that docs/mma.md has, but for a factor
    const ItemParts flux = parts_of_shape(24, 4608, 128, 132), sdxl = parts_of_shape(20, 4096, 64, 132);
    expect(flux.whole == 792 && flux.parts == 3, "Flux: the last 72 items of 864 in three parts each");
    expect(sdxl.whole == 528 && sdxl.parts == 2, "SDXL: the last 112 items of 640 in two");
  }
  expect(parts_of_shape(24, 4608, 128, 132, true).parts == 1, "a causal mask: nothing is divided");
  expect(parts_of_shape(33, 1024, 128, 132).parts == 1, "one full round: nothing is divided");
  expect(parts_of_shape(8, 256, 64, 132).parts == 1, "too few keys");
  int divided = 0;
  for (int i = 0; i < 2000; i++) {
    const int32_t heads = 1 + i % 40, length = 128 + 97 * (i % 83), sms = 1 + i % 170;
    const ItemParts p = parts_of_shape(heads, length, i % 2 == 0 ? 64 : 128, sms);
    const int32_t items = (length + 127) / 128 * heads, ctas = p.ctas(items);
    if (p.parts == 1) {
      expect(ctas == items && p.divided(items) == 0, "no parts");
      continue;
    }
    divided++;
    expect(p.divided(items) == items % (2 * sms) && p.parts <= length / 256, "the last round's items, in long parts");
    std::set<std::pair<int32_t, int32_t>> found;
    for (int32_t cta = 0; cta < ctas; cta++) {
      const int32_t part = p.is_part(cta) ? p.part(cta) : 0, item = p.item(cta);
      const int32_t parts = item < items - p.divided(items) ? 1 : p.parts;
      if (item >= 0 && item < items && part >= 0 && part < parts) found.insert({item, part});
    }
    expect(static_cast<int32_t>(found.size()) == ctas, "each part of each item once");
  }
  expect(divided > 200 && divided < 1900, "some shapes are divided, some aren't: " + std::to_string(divided));
}

}  // namespace

int main() {
  test_choice();
  test_parts();
  test_functions();
  std::printf("choice on %d: %d checks, %d failed\n", ATTN4J_SM, checks, failures);
  return failures == 0 ? 0 : 1;
}
