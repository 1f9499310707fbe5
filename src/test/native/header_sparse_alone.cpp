// Compiles only if the header includes all that it needs. And the layout of its structs, as layout.cpp has it for the
// others.
#include "attn4j/sparse.h"

namespace attn4j {

static_assert(sizeof(SparsityParams) == 104);
static_assert(offsetof(SparsityParams, simthreshd1) == 0);
static_assert(offsetof(SparsityParams, simthreshd1_per_head) == 8);
static_assert(offsetof(SparsityParams, cdfthreshd) == 16);
static_assert(offsetof(SparsityParams, cdfthreshd_per_head) == 24);
static_assert(offsetof(SparsityParams, topk) == 32);
static_assert(offsetof(SparsityParams, topk_per_head) == 40);
static_assert(offsetof(SparsityParams, pvthreshd) == 48);
static_assert(offsetof(SparsityParams, pvthreshd_per_head) == 56);
static_assert(offsetof(SparsityParams, attention_sink) == 64);
static_assert(offsetof(SparsityParams, block_mask) == 72);
static_assert(offsetof(SparsityParams, token_order) == 80);
static_assert(offsetof(SparsityParams, sparsity) == 96);
static_assert(sizeof(BlockGrid) == 32);
static_assert(sizeof(BlockPoolParams) == 120);
static_assert(offsetof(BlockPoolParams, block) == 88);

}  // namespace attn4j

attn4j::Status header_sparse_alone(attn4j::BlockGrid* grid) { return attn4j::spas_block_grid({}, grid); }
