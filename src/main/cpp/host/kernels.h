// The boundary between host and device code: what a kernel is given. host/recipe.h has how the host finds one.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "attention/attend_wgmma_split.h"
#include "attn4j/attn4j.h"

namespace attn4j {

// Strides of a (batch, head, row, channel) tensor in elements. The layout is resolved before: kernels know no HND or
// NHD. Channels are contiguous.
struct Strides {
  int64_t batch = 0, head = 0, row = 0;
};

// `causal_offset` of a request without a causal mask: larger than any key index, small enough to add a row index to.
constexpr int32_t kNotCausal = 1 << 30;

// Sums of V's rounding errors begin here, and stay between 2^23 and 2^24: there the bits of consecutive floats are
// consecutive integers, and integers can be added in any order.
constexpr float kNoError = 12582912.f;  // 1.5 * 2^23

// Which tiles of keys each tile of queries visits: block-sparse attention. A tile of queries is a block of queries, a
// tile of keys a block of keys.
struct BlockLists {
  const int32_t* list = nullptr;   // [b, hq][query tiles][key tiles]: indices, ascending
  const int32_t* count = nullptr;  // [b, hq][query tiles]: how many of them
  const int32_t* order = nullptr;  // [b, hq][query tiles]: the tiles of queries in the order of work
  // P V is skipped where the scores stay this far, in log2 units, below the maximum so far.
  float pv_threshold = 0.f;
  const float* pv_thresholds = nullptr;  // [hq] instead, or null
};

// What every attention kernel reads. Valid by construction: kernels check nothing. Passed by value.
struct AttentionArgs {
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

  // Quantised inputs, written by the pre-pass into the workspace.
  int32_t q_group = 1;               // queries that share one INT8 scale: 1, 32 or 128
  const int8_t* k_image = nullptr;   // [b, hkv][lk_padded * D] in core-matrix order (device/tile.cuh)
  const float* k_scale = nullptr;    // [b, hkv][lk_padded / 32][4]: scale of keys {32g + 8i + 2t + e}; attend_mma.cuh
                                     // has its scales inside the image (quant/int8.cuh)
  const float* k_mean = nullptr;     // [b, hkv][head_dim] or null
  const uint8_t* v_image = nullptr;  // [b, hkv][...] e4m3, transposed (quant/fp8_image.cuh)
  // [b, hkv][2][D]: scales of V's channels; then kNoError plus what rounding took from them, summed over the keys, in
  // units of scale * v_error_unit
  const float* v_scale = nullptr;
  float v_error_unit = 1.f;
  const int8_t* q_image = nullptr;  // [b, hq][lq_padded * D], where a kernel wants Q quantised before it
  // [2][b, hq][lq_padded]: scales of Q's rows with scale_log2 folded in, then q . mean(k) in log2 units for the LSE
  const float* q_scale = nullptr;
  int32_t lk_padded = 0, lq_padded = 0;
  int32_t* work_counter = nullptr;  // zeroed by the pre-pass, for kernels that hand out work dynamically
  // [b, hkv]: a head's images, of K, V and its group's Q, are complete when the counter reaches images_wanted. Counters
  // of the pre-pass's own follow.
  int32_t* images_done = nullptr;
  int32_t images_wanted = 0;
  int32_t late_ctas = 0;  // of the pre-pass, that work beside attention (quant/fp8_plan.h)
  // Items whose keys are divided between CTAs (attention/attend_wgmma_split.h); the sums of each part; and for each
  // warp of such an item how many parts are there, zeroed by the pre-pass.
  WgmmaSplit split;
  float* partials = nullptr;
  int32_t* parts_done = nullptr;

  BlockLists blocks;  // read by the block-sparse kernels alone
};

}  // namespace attn4j
