// What runs before an attention kernel, and what of the workspace it fills: one of these per way to prepare the inputs.
#pragma once

#include <cuda_runtime_api.h>

#include "attention/arguments.h"
#include "attn4j/attn4j.h"
#include "quant/fp8_prepass.h"

namespace attn4j {

class AttentionPlan;

struct Preparation {
  // Reserves workspace and completes the plan's arguments. The request is known to be served.
  void (*plan)(AttentionPlan* plan);
  // Enqueues the kernels, if there are any. `args` has its addresses.
  Status (*enqueue)(const AttentionPlan& plan, AttentionArgs* args, void* workspace, const Fp8Extras& extras,
                    cudaStream_t stream);
  // How many launches that is.
  int32_t (*launches)(const AttentionPlan& plan);
  bool takes_extras;  // enqueue does what Fp8Extras asks for; else a kernel of its own has to
};

extern const Preparation kAlignedInputs;  // q, k and v in 16-byte pieces
extern const Preparation kInt8Image;      // K as the INT8 image that mma/int8.cuh reads; v in 16-byte pieces
extern const Preparation kInt8F16Values;  // the same, and V as an fp16 image for mma/int8_acc16.cuh
extern const Preparation kInt8Fp8Values;  // the same, and V as an e4m3 image for mma/fp8.cuh
extern const Preparation kInt8Pair;       // Q and K as f16_wgmma/int8.cuh reads them; v and o in 16-byte pieces
extern const Preparation kFp8Images;      // Q, K and V as the images that fp8_wgmma/fp8.cuh reads

}  // namespace attn4j
