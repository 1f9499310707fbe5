#include "arch/arch.h"
#include "quant/fp8_prepass.cuh"
#include "quant/fp8_prepass.h"

namespace attn4j {
namespace {

int64_t ceil_div(int64_t x, int64_t y) { return (x + y - 1) / y; }
int64_t slice(int64_t bytes) { return ceil_div(bytes, 256) * 256; }

int chunk_count(int lk) {
  const int64_t wanted = ceil_div(lk, kMeanSamples);
  return static_cast<int>(wanted < 1 ? 1 : wanted > kMaxChunks ? kMaxChunks : wanted);
}

template <int D, DType T>
cudaError_t enqueue(const KernelEntry& kernel, const AttentionArgs& a, float* statistics, const Fp8Extras& extras,
                    cudaStream_t stream) {
  PrepassParams p;
  p.extras = extras;
  p.a = a;
  p.statistics = statistics;
  p.key_tile = kernel.key_tile;
  p.chunks = chunk_count(a.lk);
  p.chunk_keys = static_cast<int>(ceil_div(a.lk, p.chunks));
  // At least one CTA per head, even without keys: it writes the scales.
  p.kv_blocks = static_cast<int>(a.lk > 0 ? ceil_div(a.lk_padded, PrepassShape<D>::kBlock) : 1);
  p.q_blocks = static_cast<int>(ceil_div(a.lq_padded, PrepassShape<D>::kBlock));
  const int kv_heads = a.batch * a.heads_kv;
  fp8_statistics<D, T><<<dim3(p.chunks, kv_heads), kPrepassThreads, 0, stream>>>(p);
  cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess) return error;

  cudaLaunchAttribute attribute;
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(2 * p.kv_blocks * kv_heads + p.q_blocks * a.batch * a.heads_q);
  config.blockDim = dim3(kPrepassThreads);
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = 1;
  if (extras.k.means == nullptr) return cudaLaunchKernelEx(&config, fp8_quantise<D, T, false>, p);
  config.dynamicSmemBytes = sizeof(Pool<D>);
  return cudaLaunchKernelEx(&config, fp8_quantise<D, T, true>, p);
}

template <int D>
cudaError_t enqueue(const KernelEntry& kernel, const AttentionArgs& a, float* statistics, const Fp8Extras& extras,
                    cudaStream_t stream) {
  return kernel.dtype == DType::kFloat16 ? enqueue<D, DType::kFloat16>(kernel, a, statistics, extras, stream)
                                         : enqueue<D, DType::kBFloat16>(kernel, a, statistics, extras, stream);
}

}  // namespace

Fp8Workspace fp8_workspace(const KernelEntry& kernel, const AttentionArgs& a) noexcept {
  const int64_t d = kernel.head_dim, kv_heads = static_cast<int64_t>(a.batch) * a.heads_kv;
  const int64_t q_heads = static_cast<int64_t>(a.batch) * a.heads_q;
  const int64_t keys = ceil_div(a.lk, kernel.key_tile) * kernel.key_tile;
  const int64_t queries = ceil_div(a.lq, kernel.query_tile) * kernel.query_tile;
  Fp8Workspace w;
  w.k_image = slice(kv_heads * keys * d);
  w.k_scale = slice(kv_heads * (keys / 8) * 4);
  w.k_mean = slice(kv_heads * a.head_dim * 4);
  w.v_image = slice(kv_heads * keys * (d + 8));
  w.v_scale = slice(kv_heads * d * 4);
  w.q_image = slice(q_heads * queries * d);
  w.q_scale = slice(2 * q_heads * queries * 4);  // scales, then q . mean(k)
  w.statistics = slice(kv_heads * chunk_count(a.lk) * 2 * d * 4);
  w.work_counter = 256;
  return w;
}

cudaError_t enqueue_sm90_prepass(const KernelEntry& kernel, const AttentionArgs& args, float* statistics,
                                 const Fp8Extras& extras, cudaStream_t stream) noexcept {
  // Other architectures lack the kernel that reads the images, and the older ones e4m3: no code is made for them.
  if constexpr (arch::kSm == 90) {
    switch (kernel.head_dim) {
      case 64:
        return enqueue<64>(kernel, args, statistics, extras, stream);
      case 96:
        return enqueue<96>(kernel, args, statistics, extras, stream);
      case 128:
        return enqueue<128>(kernel, args, statistics, extras, stream);
      default:
        break;
    }
  }
  return cudaErrorNotSupported;
}

}  // namespace attn4j
