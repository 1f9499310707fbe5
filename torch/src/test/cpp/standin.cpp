// Stands in for libattn4j.so on a machine without a GPU: the functions of plan.h that the hook calls, over host
// memory, by the plain formula. What they refuse follows the real ones: head_dim above 128 (quantised) or 256 (exact).
#include <cmath>
#include <cstring>

#include "attn4j/plan.h"
#include "attn4j/site.h"

namespace attn4j {
namespace {

thread_local const char* error = "";
float reported;

float load(const void* data, bool bfloat16, int64_t i) {
  uint16_t bits = static_cast<const uint16_t*>(data)[i];
  uint32_t wide;
  if (bfloat16) {
    wide = static_cast<uint32_t>(bits) << 16;
  } else {
    uint32_t sign = (bits & 0x8000u) << 16, exponent = (bits >> 10) & 31, mantissa = bits & 0x3ffu;
    if (exponent == 0) return (sign != 0 ? -1.f : 1.f) * std::ldexp(static_cast<float>(mantissa), -24);
    wide = exponent == 31 ? sign | 0x7f800000u | mantissa << 13 : sign | (exponent + 112) << 23 | mantissa << 13;
  }
  float value;
  std::memcpy(&value, &wide, 4);
  return value;
}

float load(const TensorView& t, int64_t i) { return load(t.data, t.dtype == DType::kBFloat16, i); }

// What masks make of a score.
float masked(const AttentionParams& p, int64_t b, int64_t h, int64_t i, int64_t j, float score) {
  const auto place = [=](const MaskView& m) {
    return b * m.stride[0] + h * m.stride[1] + i * m.stride[2] + j * m.stride[3];
  };
  if (p.seen.data != nullptr && static_cast<const char*>(p.seen.data)[place(p.seen)] == 0) return -INFINITY;
  if (p.bias.data == nullptr) return score;
  if (p.bias.type == MaskType::kFloat32) return score + static_cast<const float*>(p.bias.data)[place(p.bias)];
  return score + load(p.bias.data, p.bias.type == MaskType::kBFloat16, place(p.bias));
}

uint16_t to_bfloat16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// Results of attention over moderate values: no overflow, and what is below fp16's normal numbers becomes zero.
uint16_t to_float16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  uint32_t sign = (bits >> 16) & 0x8000u;
  bits &= 0x7fffffffu;
  bits += 0xfff + ((bits >> 13) & 1);
  int32_t exponent = static_cast<int32_t>(bits >> 23) - 112;
  if (exponent <= 0) return static_cast<uint16_t>(sign);
  return static_cast<uint16_t>(sign | static_cast<uint32_t>(exponent) << 10 | ((bits >> 13) & 0x3ffu));
}

void store(const TensorView& t, int64_t i, float value) {
  static_cast<uint16_t*>(t.data)[i] = t.dtype == DType::kBFloat16 ? to_bfloat16(value) : to_float16(value);
}

int64_t at(const TensorView& t, int64_t b, int64_t h, int64_t s) {
  return b * t.stride[0] + h * t.stride[1] + s * t.stride[2];
}

float dot(const AttentionParams& p, int64_t q, int64_t k) {
  float sum = 0;
  for (int64_t c = 0; c < p.q.size[3]; c++) sum += load(p.q, q + c * p.q.stride[3]) * load(p.k, k + c * p.k.stride[3]);
  return sum;
}

void row(const AttentionParams& p, float* score, int64_t b, int64_t h, int64_t i) {
  int64_t lk = p.k.size[2], d = p.q.size[3], kv = h / (p.q.size[1] / p.k.size[1]);
  int64_t keys = p.is_causal && i + 1 < lk ? i + 1 : lk;
  float scale = p.has_sm_scale ? p.sm_scale : 1.f / std::sqrt(static_cast<float>(d));
  float top = -INFINITY, total = 0;
  for (int64_t j = 0; j < keys; j++) {
    score[j] = masked(p, b, h, i, j, scale * dot(p, at(p.q, b, h, i), at(p.k, b, kv, j)));
    if (score[j] > top) top = score[j];
  }
  for (int64_t j = 0; j < keys; j++) total += score[j] = score[j] == -INFINITY ? 0 : std::exp(score[j] - top);
  for (int64_t c = 0; c < d; c++) {
    float sum = 0;
    for (int64_t j = 0; j < keys; j++) {
      if (score[j] != 0) sum += score[j] * load(p.v, at(p.v, b, kv, j) + c * p.v.stride[3]);
    }
    store(p.o, at(p.o, b, h, i) + c * p.o.stride[3], total == 0 ? 0 : sum / total);
  }
}

// Exact attention reads all masks, SageAttention those of keys, SpargeAttn none.
bool reads_masks(const PlanRequest& r) {
  const MaskView &seen = r.attention.seen, &bias = r.attention.bias;
  if (r.function == AttentionFunction::kExactAttn || (seen.data == nullptr && bias.data == nullptr)) return true;
  const bool of_keys = bias.data == nullptr && seen.stride[1] == 0 && seen.stride[2] == 0;
  return of_keys && r.function == AttentionFunction::kSageattn;
}

// What the functions serve, and their names on Hopper, so that the rule for sparsity can be seen at work: sageattn
// takes the exact kernel up to 1024 keys, then FP8, beside which sparsity is tried from 8192 keys on.
Status plan(const PlanRequest& r, PlanFacts* facts) {
  const AttentionParams& p = r.attention;
  bool exact = r.function == AttentionFunction::kExactAttn;
  if (r.function == AttentionFunction::kSageattnInt8Fp8Sm90) {
    error = "this library has no FP8 kernel";
    return Status::kUnsupported;
  }
  if (p.q.size[3] > (exact ? 256 : 128)) {
    error = "q has more channels than this kernel serves";
    return Status::kUnsupported;
  }
  if (!reads_masks(r)) {
    error = "this kernel reads no such mask";
    return Status::kUnsupported;
  }
  exact = exact || (r.function == AttentionFunction::kSageattn && p.k.size[2] <= 1024);
  facts->kernel = exact ? "exact_standin" : "fp8_standin";
  facts->workspace_size = 4 * p.k.size[2];
  facts->sparse_from = exact ? INT64_MAX : 8192;
  return Status::kOk;
}

}  // namespace

ATTN4J_API Status plan_attention(const PlanRequest& request, PlanHandle* handle, PlanFacts* facts) noexcept {
  static_assert(sizeof(PlanRequest) <= sizeof(PlanHandle), "the request is the plan");
  PlanFacts own;
  own.status = plan(request, &own);
  if (facts != nullptr) *facts = own;
  std::memcpy(static_cast<void*>(handle), &request, sizeof request);
  return own.status;
}

ATTN4J_API Status run_plan(const PlanHandle& handle, const PlanAddresses& a, CUstream_st*) noexcept {
  PlanRequest request;
  std::memcpy(static_cast<void*>(&request), &handle, sizeof request);
  AttentionParams& p = request.attention;
  if (a.workspace.size < 4 * p.k.size[2] || a.workspace.data == nullptr) {
    error = "workspace is too small";
    return Status::kWorkspaceTooSmall;
  }
  const bool decided = a.report == &reported && a.dense_heads[0] == 1;
  const bool sparse = request.function == AttentionFunction::kSpasMeansim && p.k.size[2] >= 8192;  // not by name
  if (sparse && !decided) {
    error = "the call site's decision didn't reach the kernels";
    return Status::kInvalidArgument;
  }
  if ((p.seen.data == nullptr) != (a.seen == nullptr) || (p.bias.data == nullptr) != (a.bias == nullptr)) {
    error = "the plan was made with a mask, or without, and the addresses say otherwise";
    return Status::kInvalidArgument;
  }
  p.seen.data = a.seen;
  p.bias.data = a.bias;
  p.q.data = const_cast<void*>(a.q);
  p.k.data = const_cast<void*>(a.k);
  p.v.data = const_cast<void*>(a.v);
  p.o.data = a.o;
  for (int64_t b = 0; b < p.q.size[0]; b++) {
    for (int64_t h = 0; h < p.q.size[1]; h++) {
      for (int64_t i = 0; i < p.q.size[2]; i++) row(p, static_cast<float*>(a.workspace.data), b, h, i);
    }
  }
  return Status::kOk;
}

// Learns nothing: sparse unless frozen, where nothing is known of any site. Head 0 runs dense.
ATTN4J_API int64_t attention_site(const PlanRequest& request) noexcept {
  return static_cast<int64_t>(request.site_key >> 1);
}
ATTN4J_API Status decide_site(int64_t, SiteMode mode, CUstream_st*, SiteDecision* decision) noexcept {
  *decision = {};
  decision->sparse = mode != SiteMode::kFrozen;
  decision->report = &reported;
  decision->dense_heads[0] = 1;
  return Status::kOk;
}

ATTN4J_API const char* last_error() noexcept { return error; }

}  // namespace attn4j
