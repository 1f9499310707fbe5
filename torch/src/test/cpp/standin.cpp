// Stands in for libattn4j.so on a machine without a GPU: the functions of attn4j.h that the hook calls, over host
// memory, by the plain formula. What they refuse follows the real ones: head_dim above 128 (quantised) or 256 (exact).
#include <cmath>
#include <cstring>

#include "attn4j/attn4j.h"
#include "attn4j/sparse.h"

namespace attn4j {
namespace {

thread_local const char* error = "";

float load(const TensorView& t, int64_t i) {
  uint16_t bits = static_cast<const uint16_t*>(t.data)[i];
  uint32_t wide;
  if (t.dtype == DType::kBFloat16) {
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
    score[j] = scale * dot(p, at(p.q, b, h, i), at(p.k, b, kv, j));
    if (score[j] > top) top = score[j];
  }
  for (int64_t j = 0; j < keys; j++) total += score[j] = std::exp(score[j] - top);
  for (int64_t c = 0; c < d; c++) {
    float sum = 0;
    for (int64_t j = 0; j < keys; j++) sum += score[j] * load(p.v, at(p.v, b, kv, j) + c * p.v.stride[3]);
    store(p.o, at(p.o, b, h, i) + c * p.o.stride[3], sum / total);
  }
}

int64_t size(const AttentionParams& p, int64_t largest) {
  if (p.q.size[3] <= largest) return 4 * p.k.size[2];
  error = "q has more channels than this kernel serves";
  return -static_cast<int64_t>(Status::kUnsupported);
}

Status run(const AttentionParams& p, const Workspace& w) {
  if (w.size < 4 * p.k.size[2] || w.data == nullptr) {
    error = "workspace is too small";
    return Status::kWorkspaceTooSmall;
  }
  for (int64_t b = 0; b < p.q.size[0]; b++) {
    for (int64_t h = 0; h < p.q.size[1]; h++) {
      for (int64_t i = 0; i < p.q.size[2]; i++) row(p, static_cast<float*>(w.data), b, h, i);
    }
  }
  return Status::kOk;
}

}  // namespace

ATTN4J_API int64_t sageattn_workspace_size(const AttentionParams& p) noexcept { return size(p, 128); }
ATTN4J_API Status sageattn(const AttentionParams& p, const Workspace& w, CUstream_st*) noexcept { return run(p, w); }
ATTN4J_API int64_t sageattn_qk_int8_pv_fp16_cuda_workspace_size(const AttentionParams& p) noexcept {
  return size(p, 128);
}
ATTN4J_API Status sageattn_qk_int8_pv_fp16_cuda(const AttentionParams& p, const Workspace& w, CUstream_st*) noexcept {
  return run(p, w);
}
ATTN4J_API int64_t sageattn_qk_int8_pv_fp8_cuda_sm90_workspace_size(const AttentionParams&) noexcept {
  error = "this library has no FP8 kernel";
  return -static_cast<int64_t>(Status::kUnsupported);
}
ATTN4J_API Status sageattn_qk_int8_pv_fp8_cuda_sm90(const AttentionParams&, const Workspace&, CUstream_st*) noexcept {
  return Status::kUnsupported;
}
ATTN4J_API int64_t spas_sage2_attn_meansim_cuda_workspace_size(const AttentionParams& p,
                                                               const SparsityParams&) noexcept {
  return size(p, 128);
}
ATTN4J_API Status spas_sage2_attn_meansim_cuda(const AttentionParams& p, const SparsityParams&, const Workspace& w,
                                               CUstream_st*) noexcept {
  return run(p, w);
}
ATTN4J_API int64_t spas_sage2_attn_meansim_topk_cuda_workspace_size(const AttentionParams& p,
                                                                    const SparsityParams&) noexcept {
  return size(p, 128);
}
ATTN4J_API Status spas_sage2_attn_meansim_topk_cuda(const AttentionParams& p, const SparsityParams&, const Workspace& w,
                                                    CUstream_st*) noexcept {
  return run(p, w);
}
ATTN4J_API int64_t exact_attn_workspace_size(const AttentionParams& p) noexcept { return size(p, 256); }
ATTN4J_API Status exact_attn(const AttentionParams& p, const Workspace& w, CUstream_st*) noexcept { return run(p, w); }

// Named as on Hopper, so that the rule for sparsity can be seen at work: exact up to 1024 keys, then FP8.
ATTN4J_API const char* sageattn_kernel(const AttentionParams& p) noexcept {
  if (p.q.size[3] > 128) return nullptr;
  return p.k.size[2] <= 1024 ? "wgmma_exact/d128" : "wgmma_int8_fp8/d128";
}

ATTN4J_API const char* last_error() noexcept { return error; }

}  // namespace attn4j
