// From PyTorch's tensors to a request of attn4j.h: what is served as it is, and what isn't.
#pragma once

#include <cstdint>

#include "attn4j/attn4j.h"
#include "call.h"
#include "outcome.h"

namespace attn4j_torch {

// Sizes and strides of a tensor as (batch, head, sequence, channel); one of rank 3 has one head.
struct Operand {
  int64_t size[4];
  int64_t stride[4];  // in elements
};

// The sizes of a call after PyTorch's broadcasting.
struct Sizes {
  int64_t batch, heads, heads_kv, queries, keys, head_dim;
};

struct Geometry {
  Operand q, k, v;
  attn4j::MaskView seen, bias;  // of attn_mask; at most one is there
  Sizes sizes;
  int64_t rank;
  int32_t dtype, device_type, device;
};

// Reads the tensors of a call. False with the outcome if it can't be put as a request. The checks are those of
// org.attn4j.pytorch.Obstacles and Masks: SameRulesTest holds both to one table of cases. No element of a mask is read:
// boolean masks of keys are served, the same for all heads and queries, and all masks where `any_mask`.
bool read_call(const TorchAbi& torch, const Call& call, bool any_mask, Geometry* geometry, Outcome* outcome);

// The output of a call: its dimensions lie in memory in the order of query's. False if there is no memory.
bool allocate_output(const TorchAbi& torch, const Geometry& geometry, Operand* o, Handle* result);

// The request over the memory of the tensors.
void fill_request(const TorchAbi& torch, const Call& call, const Geometry& geometry, const Operand& o, Handle output,
                  attn4j::AttentionParams* params);

}  // namespace attn4j_torch
