// Lets a Python program call libattn4j.so through ctypes, on PyTorch's tensors and streams (bench/decode_results.py).
//
//   g++ -std=c++17 -O2 -shared -fPIC -Isrc/main/cpp/include bench/cpp/torch_shim.cpp -o libtorch_shim.so -L DIR
//   -lattn4j
#include <cstring>

#include "attn4j/attn4j.h"
#include "attn4j/plan.h"

namespace {

// sizes: b, hq, hkv, lq, lk, d. strides: of q, k, v and o in elements, (batch, head, row) each.
attn4j::AttentionParams params_of(void* const* addresses, const int64_t* sizes, const int64_t* strides, int bf16,
                                  int causal) {
  attn4j::AttentionParams p;
  attn4j::TensorView* const views[] = {&p.q, &p.k, &p.v, &p.o};
  for (int i = 0; i < 4; i++) {
    const bool key = i == 1 || i == 2;
    attn4j::TensorView& t = *views[i];
    t.data = addresses[i];
    const int64_t size[] = {sizes[0], sizes[key ? 2 : 1], sizes[key ? 4 : 3], sizes[5]};
    for (int n = 0; n < 4; n++) t.size[n] = size[n], t.stride[n] = n < 3 ? strides[3 * i + n] : 1;
    t.dtype = bf16 != 0 ? attn4j::DType::kBFloat16 : attn4j::DType::kFloat16;
  }
  p.lse = addresses[4];
  p.is_causal = causal != 0;
  p.causal_alignment = causal == 2 ? attn4j::CausalAlignment::kBottomRight : attn4j::CausalAlignment::kTopLeft;
  return p;
}

}  // namespace

extern "C" {

// Plans; gives back the bytes of workspace, or -1. `plan` has sizeof(attn4j::PlanHandle) bytes, `kernel` 64.
int64_t shim_plan(int sage, void* const* addresses, const int64_t* sizes, const int64_t* strides, int bf16, int causal,
                  void* plan, char* kernel, float* seconds) {
  attn4j::PlanRequest request;
  request.attention = params_of(addresses, sizes, strides, bf16, causal);
  request.function = sage != 0 ? attn4j::AttentionFunction::kSageattn : attn4j::AttentionFunction::kExactAttn;
  attn4j::PlanFacts facts;
  if (attn4j::plan_attention(request, static_cast<attn4j::PlanHandle*>(plan), &facts) != attn4j::Status::kOk) return -1;
  std::strncpy(kernel, facts.kernel, 63);
  *seconds = facts.estimated_seconds;
  return facts.workspace_size;
}

int shim_run(const void* plan, void* const* addresses, void* workspace, int64_t workspace_size, CUstream_st* stream) {
  attn4j::PlanAddresses to;
  to.q = addresses[0], to.k = addresses[1], to.v = addresses[2], to.o = addresses[3], to.lse = addresses[4];
  to.workspace.data = workspace, to.workspace.size = workspace_size;
  return static_cast<int>(attn4j::run_plan(*static_cast<const attn4j::PlanHandle*>(plan), to, stream));
}

int64_t shim_plan_bytes() { return sizeof(attn4j::PlanHandle); }

}  // extern "C"
