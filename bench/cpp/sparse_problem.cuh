// One problem of sparse_gpu.cu: its tensors in guarded device memory, its inputs, and its call.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "accuracy.cuh"
#include "attn4j/sparse.h"

namespace attn4j_bench {

using attn4j::BlockGrid;
using attn4j::SparsityParams;
using attn4j::Status;

inline void require(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::printf("FAILED: %s: %s\n", what, cudaGetErrorString(error));
  std::exit(2);
}

// Device memory with canaries on both sides, filled with 0xFF before use.
class Buffer {
 public:
  static constexpr int64_t kGuard = 4096;
  explicit Buffer(int64_t bytes) : bytes_(bytes) {
    require(cudaMalloc(&memory_, bytes + 2 * kGuard), "cudaMalloc");
    poison();
  }
  ~Buffer() { cudaFree(memory_); }
  Buffer(const Buffer&) = delete;
  void poison() { require(cudaMemset(memory_, 0xFF, bytes_ + 2 * kGuard), "cudaMemset"); }
  template <class T = char>
  T* data() const {
    return reinterpret_cast<T*>(memory_ + kGuard);
  }
  template <class T>
  std::vector<T> read() const {
    std::vector<T> values(bytes_ / sizeof(T));
    require(cudaMemcpy(values.data(), data(), bytes_, cudaMemcpyDeviceToHost), "copy");
    return values;
  }
  bool intact() const {
    std::vector<unsigned char> guard(2 * kGuard);
    require(cudaMemcpy(guard.data(), memory_, kGuard, cudaMemcpyDeviceToHost), "copy");
    require(cudaMemcpy(guard.data() + kGuard, data() + bytes_, kGuard, cudaMemcpyDeviceToHost), "copy");
    return std::all_of(guard.begin(), guard.end(), [](unsigned char x) { return x == 0xFF; });
  }

 private:
  char* memory_ = nullptr;
  int64_t bytes_;
};

enum class Function { kMass, kRank, kMask, kDense };
inline const char* const kFunctionNames[] = {"mass", "rank", "mask", "dense"};

struct Case {
  int64_t b = 1, hq = 1, hkv = 1, lq = 1, lk = 1, d = 64;
  DType dtype = DType::kFloat16;
  TensorLayout layout = TensorLayout::kHND;
  int causal = 0;  // 0 none, 1 top-left, 2 bottom-right
  int64_t shift = 0;
  bool lse = true, lengths = false, smooth_k = true, clustered = false, per_head = false;
  double density = 0.5;  // of a caller's mask
  bool fp8 = false;      // P V in FP8, what Hopper does by default; else in 16 bits
  SparsityParams sparsity;

  void print(Function f) const {
    std::printf(
        "%s %s b=%ld hq=%ld hkv=%ld lq=%ld lk=%ld d=%ld %s %s causal=%d shift=%ld lengths=%d smooth=%d clustered=%d "
        "per_head=%d density=%g sim=%g cdf=%g topk=%g pv=%g sink=%d",
        kFunctionNames[static_cast<int>(f)], fp8 ? "fp8" : "f16", b, hq, hkv, lq, lk, d,
        dtype == DType::kFloat16 ? "f16" : "bf16", layout == TensorLayout::kHND ? "HND" : "NHD", causal, shift, lengths,
        smooth_k, clustered, per_head, density, sparsity.simthreshd1, sparsity.cdfthreshd, sparsity.topk,
        sparsity.pvthreshd, sparsity.attention_sink);
  }
};

// Tokens in runs of about 48 that point in one of 24 directions, as the patches of a picture or a video do.
static __global__ void cluster_kernel(TensorView t, TensorLayout layout, float spread, float strength, uint64_t seed) {
  const bool hnd = layout == TensorLayout::kHND;
  const int64_t heads = t.size[hnd ? 1 : 2], rows = t.size[hnd ? 2 : 1], d = t.size[3];
  const int64_t total = t.size[0] * heads * rows * d;
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < total; i += int64_t{gridDim.x} * blockDim.x) {
    const int64_t c = i % d, s = i / d % rows, h = i / d / rows % heads, b = i / d / rows / heads;
    const int64_t direction = mix(s / 48 + 1000 * (b * heads + h)) % 24;
    const float x = spread * normal(seed, i) + strength * normal(4242, direction * d + c);
    uint16_t* p = static_cast<uint16_t*>(t.data) + element(t, layout, b, h, s, c);
    *p = t.dtype == DType::kFloat16 ? __half_as_ushort(__float2half_rn(x))
                                    : __bfloat16_as_ushort(__float2bfloat16_rn(x));
  }
}

static __global__ void mask_kernel(uint8_t* mask, int64_t count, int64_t row, float density, uint64_t seed) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count; i += int64_t{gridDim.x} * blockDim.x) {
    const bool empty =
        density < 1.f && row < 64 && mix(seed ^ (i / row)) % 8 == 0;  // small cases: some rows see nothing
    mask[i] = !empty && (mix(seed + i) >> 40) < density * (1 << 24) ? 1 + i % 255 : 0;
  }
}

// The tensors of one case.
struct Problem {
  Case c;
  AttentionParams params;
  SparsityParams sparsity;
  BlockGrid grid;
  std::vector<std::unique_ptr<Buffer>> buffers;
  std::unique_ptr<Buffer> workspace;
  Buffer *o, *lse = nullptr, *map, *share, *mask;
  std::vector<int32_t> lengths;

  explicit Problem(const Case& c_) : c(c_), sparsity(c_.sparsity) {
    Buffer* ignored;
    params.tensor_layout = c.layout;
    params.q = tensor(c.hq, c.lq, &ignored), params.k = tensor(c.hkv, c.lk, &ignored);
    params.v = tensor(c.hkv, c.lk, &ignored), params.o = tensor(c.hq, c.lq, &o);
    if (c.lse) params.lse = (lse = raw(c.b * c.hq * c.lq * 4))->data();
    params.is_causal = c.causal != 0;
    params.causal_alignment = c.causal == 2 ? attn4j::CausalAlignment::kBottomRight : attn4j::CausalAlignment::kTopLeft;
    params.smooth_k = c.smooth_k;
    params.pv_accum_dtype = c.fp8 ? attn4j::PvAccumDType::kFp32Fp32 : attn4j::PvAccumDType::kFp32;
    lengths.assign(c.b, static_cast<int32_t>(c.lk));
    if (c.lengths) {
      for (int64_t i = 0; i < c.b; i++) lengths[i] = static_cast<int32_t>(c.lk * i / c.b + c.lk / 3 * (i == 1));
      params.kv_lengths = upload(lengths);
    }
    if (attn4j::spas_block_grid(params, &grid) != Status::kOk) {
      std::printf("FAILED: %s\n", attn4j::last_error());
      std::exit(2);
    }
    const int64_t blocks = c.b * c.hq * grid.query_blocks * grid.key_blocks;
    map = raw(blocks), mask = raw(blocks), share = raw(c.b * c.hq * 4);
    sparsity.block_map = map->data(), sparsity.sparsity = share->data();
    if (c.per_head) {
      sparsity.simthreshd1_per_head = upload(per_head(sparsity.simthreshd1, 0.1f));
      sparsity.cdfthreshd_per_head = upload(per_head(sparsity.cdfthreshd, -0.1f));
      sparsity.topk_per_head = upload(per_head(sparsity.topk, 0.05f));
      sparsity.pvthreshd_per_head = upload(per_head(sparsity.pvthreshd, 3.f));
    }
  }
  std::vector<float> per_head(float value, float step) const {
    std::vector<float> values(c.hq);
    for (int64_t h = 0; h < c.hq; h++) values[h] = value + step * static_cast<float>(h % 3);
    return values;
  }
  template <class T>
  void* upload(const std::vector<T>& values) {
    Buffer* buffer = raw(values.size() * sizeof(T));
    require(cudaMemcpy(buffer->data(), values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice), "copy");
    return buffer->data();
  }
  Buffer* raw(int64_t bytes) {
    buffers.push_back(std::make_unique<Buffer>(bytes));
    return buffers.back().get();
  }
  TensorView tensor(int64_t heads, int64_t rows, Buffer** buffer) {
    TensorView t;
    t.dtype = c.dtype;
    const bool hnd = c.layout == TensorLayout::kHND;
    const int64_t sizes[4] = {c.b, hnd ? heads : rows, hnd ? rows : heads, c.d};
    const int64_t strides[4] = {heads * rows * c.d, hnd ? rows * c.d : heads * c.d, c.d, 1};
    std::copy(sizes, sizes + 4, t.size);
    std::copy(strides, strides + 4, t.stride);
    *buffer = raw((c.b * heads * rows * c.d + c.shift) * 2);
    t.data = (*buffer)->data<uint16_t>() + c.shift;
    return t;
  }
  void fill(uint64_t seed) {
    if (c.clustered) {
      launch(cluster_kernel, 1024, 256, 0, params.q, c.layout, 0.6f, 1.f, seed);
      if (c.lk > 0) launch(cluster_kernel, 1024, 256, 0, params.k, c.layout, 0.6f, 1.f, seed + 1);
    } else {
      launch(fill_kernel, 1024, 256, 0, params.q, c.layout, Distribution{}, seed);
      if (c.lk > 0) launch(fill_kernel, 1024, 256, 0, params.k, c.layout, Distribution{1.f, 2.f}, seed + 1);
    }
    if (c.lk > 0) launch(fill_kernel, 1024, 256, 0, params.v, c.layout, Distribution{}, seed + 2);
    const int64_t blocks = c.b * c.hq * grid.query_blocks * grid.key_blocks;
    if (blocks > 0) {
      launch(mask_kernel, 1024, 256, 0, mask->data<uint8_t>(), blocks, grid.key_blocks, static_cast<float>(c.density),
             seed + 3);
    }
    require(cudaGetLastError(), "fill");
  }
  bool run(Function f) {
    SparsityParams s = sparsity;
    s.block_mask = f == Function::kMask ? mask->data() : nullptr;
    const int64_t bytes = f == Function::kMass   ? attn4j::spas_sage2_attn_meansim_cuda_workspace_size(params, s)
                          : f == Function::kRank ? attn4j::spas_sage2_attn_meansim_topk_cuda_workspace_size(params, s)
                          : f == Function::kMask ? attn4j::block_sparse_sage2_attn_cuda_workspace_size(params, s)
                          : c.fp8                ? attn4j::sageattn_qk_int8_pv_fp8_cuda_sm90_workspace_size(params)
                                                 : attn4j::sageattn_qk_int8_pv_fp16_cuda_workspace_size(params);
    if (bytes < 0) {
      std::printf("refused: %s\n", attn4j::last_error());
      return false;
    }
    if (workspace == nullptr || workspace_bytes < bytes) workspace = std::make_unique<Buffer>(workspace_bytes = bytes);
    const attn4j::Workspace w{workspace->data(), bytes};
    const Status status = f == Function::kMass   ? attn4j::spas_sage2_attn_meansim_cuda(params, s, w, nullptr)
                          : f == Function::kRank ? attn4j::spas_sage2_attn_meansim_topk_cuda(params, s, w, nullptr)
                          : f == Function::kMask ? attn4j::block_sparse_sage2_attn_cuda(params, s, w, nullptr)
                          : c.fp8                ? attn4j::sageattn_qk_int8_pv_fp8_cuda_sm90(params, w, nullptr)
                                                 : attn4j::sageattn_qk_int8_pv_fp16_cuda(params, w, nullptr);
    if (status != Status::kOk) std::printf("status %d: %s\n", static_cast<int>(status), attn4j::last_error());
    return status == Status::kOk;
  }
  // The shift of K: its mean, of at most 512 keys (quant/samples.cuh). Without kv_lengths.
  std::vector<float> k_shift() const {
    const int64_t step = std::max<int64_t>(1, (c.lk + 511) / 512);
    const int64_t elements = c.b * c.hkv * c.lk * c.d;
    std::vector<uint16_t> k(elements);
    require(cudaMemcpy(k.data(), params.k.data, elements * 2, cudaMemcpyDeviceToHost), "copy");
    std::vector<float> shift(c.b * c.hkv * c.d);
    const bool hnd = c.layout == TensorLayout::kHND;
    for (int64_t channel = 0; channel < c.b * c.hkv * c.d; channel++) {
      const int64_t d = channel % c.d, h = channel / c.d % c.hkv, b = channel / c.d / c.hkv;
      double sum = 0;
      for (int64_t i = 0; i * step < c.lk; i++) {
        const int64_t t = std::min(i * step + ((i * 40503 & 0xffff) * step >> 16), c.lk - 1);
        const uint16_t x = k[hnd ? ((b * c.hkv + h) * c.lk + t) * c.d + d : ((b * c.lk + t) * c.hkv + h) * c.d + d];
        sum +=
            c.dtype == DType::kFloat16 ? __half2float(__ushort_as_half(x)) : __bfloat162float(__ushort_as_bfloat16(x));
      }
      shift[channel] = static_cast<float>(sum / static_cast<double>((c.lk + step - 1) / step));
    }
    return shift;
  }
  Accuracy compare(int64_t stride_rows, bool masked) const {
    Buffer result(sizeof(Accuracy));
    require(cudaMemset(result.data(), 0, sizeof(Accuracy)), "cudaMemset");
    const int64_t rows = (c.b * c.hq * c.lq + stride_rows - 1) / stride_rows;
    const size_t smem = std::max<int64_t>(c.lk, 1) * sizeof(float);
    require(cudaFuncSetAttribute(compare_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(smem)),
            "shared memory of the reference");
    const BlockMap blocks = {masked ? map->data<uint8_t>() : nullptr, grid.query_block, grid.key_block};
    launch(compare_kernel, static_cast<unsigned>(rows), 128, smem, params, stride_rows, result.data<Accuracy>(),
           blocks);
    return result.read<Accuracy>()[0];
  }
  bool intact() const {
    return std::all_of(buffers.begin(), buffers.end(), [](const auto& b) { return b->intact(); }) &&
           (workspace == nullptr || workspace->intact());
  }
  // Leading key blocks that a query block sees.
  int64_t visible(int64_t b, int64_t block) const {
    const int64_t keys = std::min<int64_t>(std::max(lengths[b], 0), c.lk);
    const int64_t last = std::min((block + 1) * grid.query_block, c.lq) - 1;
    const int64_t offset = c.causal == 2 ? c.lk - c.lq : 0;
    const int64_t seen = c.causal == 0 ? keys : std::max<int64_t>(0, std::min(keys, last + offset + 1));
    return (seen + grid.key_block - 1) / grid.key_block;
  }

  int64_t workspace_bytes = 0;
};

}  // namespace attn4j_bench
