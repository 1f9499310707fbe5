// What quantisation leaves in the workspace for the attention kernels.
#pragma once

#include <cstdint>

#include "device/host_device.h"
#include "device/tensors.h"

namespace attn4j {

// Sums of V's rounding errors begin here, and stay between 2^23 and 2^24: there the bits of consecutive floats are
// consecutive integers, and integers can be added in any order.
constexpr float kNoError = 12582912.f;  // 1.5 * 2^23

// Floats of a kv head in PreparedCall::v_scale.
ATTN4J_HOST_DEVICE constexpr int v_scale_size(int compiled_d) { return 3 * compiled_d + 4; }

// A call with its quantised inputs. Which of these are set depends on the kernel's preparation (host/preparation.h).
struct PreparedCall : CallTensors {
  int32_t q_group = 1;              // queries that share one INT8 scale: 1, 32 or 128
  const int8_t* k_image = nullptr;  // [b, hkv][lk_padded * D] in core-matrix order (device/tile.cuh)
  const float* k_scale = nullptr;   // [b, hkv][lk_padded / 32][4]: scale of keys {32g + 8i + 2t + e}; mma/int8.cuh
                                    // has its scales inside the image (quant/int8.cuh)
  const float* k_mean = nullptr;    // [b, hkv][head_dim] or null
  // [b, hkv][...] e4m3, transposed (quant/fp8_image.cuh, quant/values.h), or fp16 (quant/values.h)
  const uint8_t* v_image = nullptr;
  // [b, hkv][v_scale_size(D)]: scales of V's channels; kNoError plus what rounding took from
  // them, summed over the keys, in units of scale * v_error_unit; what was subtracted from V before; one number that
  // isn't 0 if some value of V is not finite
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
};

}  // namespace attn4j
