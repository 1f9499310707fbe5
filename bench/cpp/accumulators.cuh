// The functions of attn4j.h with an accumulator of P V that isn't their default, as functions of their own.
#pragma once

#include "attn4j/attn4j.h"

namespace attn4j_bench {

template <attn4j::PvAccumDType kAccumulator>
attn4j::AttentionParams accumulating(attn4j::AttentionParams p) {
  p.pv_accum_dtype = kAccumulator;
  return p;
}

// INT8 Q K, 16-bit P V, fp16 accumulators folded into fp32.
inline attn4j::Status int8_acc16(const attn4j::AttentionParams& p, const attn4j::Workspace& w,
                                 CUstream_st* stream) noexcept {
  return attn4j::sageattn_qk_int8_pv_fp16_cuda(accumulating<attn4j::PvAccumDType::kFp16Fp32>(p), w, stream);
}
inline int64_t int8_acc16_size(const attn4j::AttentionParams& p) noexcept {
  return attn4j::sageattn_qk_int8_pv_fp16_cuda_workspace_size(accumulating<attn4j::PvAccumDType::kFp16Fp32>(p));
}

// INT8 Q K, FP8 P V on mma.sync, fp16 accumulators folded into fp32.
inline attn4j::Status fp8_acc16(const attn4j::AttentionParams& p, const attn4j::Workspace& w,
                                CUstream_st* stream) noexcept {
  return attn4j::sageattn_qk_int8_pv_fp8_cuda(accumulating<attn4j::PvAccumDType::kFp32Fp16>(p), w, stream);
}
inline int64_t fp8_acc16_size(const attn4j::AttentionParams& p) noexcept {
  return attn4j::sageattn_qk_int8_pv_fp8_cuda_workspace_size(accumulating<attn4j::PvAccumDType::kFp32Fp16>(p));
}

}  // namespace attn4j_bench
