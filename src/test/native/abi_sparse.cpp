#include "abi_sparse.h"

#include <cmath>

#include "attn4j/sparse.h"

using attn4j::AttentionParams;
using attn4j::BlockGrid;
using attn4j::SparsityParams;
using attn4j::Status;
using attn4j::TensorView;

namespace {

TensorView view(uintptr_t address, int64_t heads, int64_t rows, int64_t head_dim) {
  TensorView t;
  t.data = reinterpret_cast<void*>(address);
  const int64_t sizes[4] = {2, heads, rows, head_dim};
  int64_t stride = 1;
  for (int i = 3; i >= 0; --i) {
    t.size[i] = sizes[i];
    t.stride[i] = stride;
    stride *= sizes[i];
  }
  return t;
}

AttentionParams request(int64_t head_dim = 128) {
  AttentionParams p;
  p.q = view(0x10000000, 8, 1000, head_dim);
  p.k = view(0x20000000, 2, 1500, head_dim);
  p.v = view(0x30000000, 2, 1500, head_dim);
  p.o = view(0x40000000, 8, 1000, head_dim);
  return p;
}

constexpr int64_t kInvalid = -static_cast<int64_t>(Status::kInvalidArgument);
constexpr int64_t kUnsupported = -static_cast<int64_t>(Status::kUnsupported);

bool says(const std::string& text) { return std::string(attn4j::last_error()).find(text) != std::string::npos; }

struct Mistake {
  const char* mentioned;
  void (*make)(SparsityParams&);
};

const Mistake kMistakes[] = {
    {"simthreshd1", [](SparsityParams& s) { s.simthreshd1 = -1.5f; }},
    {"cdfthreshd", [](SparsityParams& s) { s.cdfthreshd = std::nanf(""); }},
    {"topk", [](SparsityParams& s) { s.topk = 1.1f; }},
    {"pvthreshd", [](SparsityParams& s) { s.pvthreshd = -1.f; }},
    {"block_mask", [](SparsityParams& s) { s.block_mask = reinterpret_cast<void*>(0x60000000); }},
};

void test_refusals(Expect expect) {
  for (const Mistake& mistake : kMistakes) {
    SparsityParams s;
    mistake.make(s);
    expect(attn4j::spas_sage2_attn_meansim_cuda_workspace_size(request(), s) == kInvalid, mistake.mentioned);
    expect(says(mistake.mentioned), std::string("a sentence about ") + mistake.mentioned);
    expect(attn4j::spas_sage2_attn_meansim_cuda(request(), s, {}, nullptr) == Status::kInvalidArgument,
           std::string(mistake.mentioned) + " in the call");
  }
  expect(attn4j::spas_sage2_attn_meansim_topk_cuda_workspace_size(request(), {}) == kInvalid, "topk is 0");
  expect(says("topk"), "a sentence about a topk of 0");
  expect(attn4j::block_sparse_sage2_attn_cuda_workspace_size(request(), {}) == kInvalid, "no block mask");
  expect(says("block_mask"), "a sentence about a missing block mask");
  expect(attn4j::spas_sage2_attn_meansim_cuda_workspace_size(request(160), {}) == kUnsupported, "head_dim 160");
  expect(attn4j::spas_block_grid(request(), nullptr) == Status::kInvalidArgument, "no grid");
}

}  // namespace

void test_sparse(Expect expect) {
  BlockGrid grid;
  if (std::string(attn4j::kernel_list()).find("sparse") == std::string::npos) {
    expect(attn4j::spas_sage2_attn_meansim_cuda_workspace_size(request(), {}) == kUnsupported, "no sparse kernels");
    expect(says("SpargeAttn is not built for this architecture"), "a sentence about the architecture");
    expect(attn4j::spas_block_grid(request(), &grid) == Status::kUnsupported, "no sparse kernels, no grid");
    return;
  }
  expect(attn4j::spas_block_grid(request(), &grid) == Status::kOk, "a good request has a grid");
  expect(grid.query_blocks == (1000 + grid.query_block - 1) / grid.query_block, "blocks of queries");
  expect(grid.key_blocks == (1500 + grid.key_block - 1) / grid.key_block, "blocks of keys");
  const int64_t dense = attn4j::sageattn_qk_int8_pv_fp16_cuda_workspace_size(request());
  const int64_t sparse = attn4j::spas_sage2_attn_meansim_cuda_workspace_size(request(), {});
  expect(sparse > 0 && dense > 0, "a good request has a workspace size");
  test_refusals(expect);
  SparsityParams s;
  s.topk = 0.5f;
  expect(attn4j::spas_sage2_attn_meansim_topk_cuda_workspace_size(request(), s) == sparse, "by rank or by mass");
  s.block_mask = reinterpret_cast<void*>(0x60000000);
  expect(attn4j::block_sparse_sage2_attn_cuda_workspace_size(request(), s) < sparse, "a mask needs no means");
  expect(attn4j::block_sparse_sage2_attn_cuda(request(), s, {}, nullptr) == Status::kWorkspaceTooSmall, "no workspace");
  attn4j::BlockPoolParams pool;
  pool.x = request().q;
  expect(attn4j::block_pool(pool, nullptr) == Status::kInvalidArgument, "block_pool without outputs");
  expect(says("means"), "a sentence about block_pool's outputs");
  pool.block = 0;
  expect(attn4j::block_pool(pool, nullptr) == Status::kInvalidArgument && says("block"), "blocks of no rows");
}
