// Tensors of a call as device code sees them.
#pragma once

#include <cstdint>

#include "attn4j/attn4j.h"

namespace attn4j {

// Strides of a (batch, head, row, channel) tensor in elements. The layout is resolved before: kernels know no HND or
// NHD. Channels are contiguous.
struct Strides {
  int64_t batch = 0, head = 0, row = 0;
};

// `causal_offset` of a request without a causal mask: larger than any key index, small enough to add a row index to.
constexpr int32_t kNotCausal = 1 << 30;

// The shape of a valid request, and its tensors.
struct CallTensors {
  const void* q = nullptr;  // [b, hq, lq, d], 16-bit
  const void* k = nullptr;  // [b, hkv, lk, d], 16-bit; not read by kernels that take k_image
  const void* v = nullptr;  // [b, hkv, lk, d], 16-bit; not read by kernels that take v_image
  void* o = nullptr;        // [b, hq, lq, d], 16-bit
  Strides q_stride, k_stride, v_stride, o_stride;
  float* lse = nullptr;                 // [b][hq][lq] or null, natural log
  const int32_t* kv_lengths = nullptr;  // [b] or null

  int32_t batch = 0, heads_q = 0, heads_kv = 0, group = 1;  // group = heads_q / heads_kv
  int32_t lq = 0, lk = 0, head_dim = 0;                     // head_dim as given: at most the variant's own
  // Query i sees the keys j < min(kv_length, i + causal_offset + 1); kNotCausal takes the second bound away.
  int32_t causal_offset = kNotCausal;
  float scale_log2 = 0.f;  // |sm_scale| * log2(e)
  float q_sign = 1.f;      // sign of sm_scale, applied to q: integer maxima need a positive scale
  bool vector_io = true;   // q, k, v and o are 16-byte aligned in base and strides, and head_dim is a multiple of 8
};

}  // namespace attn4j
