// Inputs, an fp64-accumulating reference and timing for the stand-alone check of the Hopper path.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "device/numeric.cuh"
#include "host/preparation.h"
#include "host/recipe.h"
#include "quant/fp8_image.cuh"
#include "quant/fp8_prepass.h"

namespace attn4j {

const Preparation kFp8Images{};  // the check runs the pre-pass itself

}  // namespace attn4j

namespace hopper {

using namespace attn4j;

inline void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::printf("CUDA error %s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

enum class Data { kNormal, kOutlier, kJumps, kTiny, kFlatThenPeak, kSink, kHuge, kLocal, kScattered };

__device__ inline uint32_t mix(uint32_t x) {
  x ^= x >> 16;
  x *= 0x7feb352dU;
  x ^= x >> 15;
  x *= 0x846ca68bU;
  return x ^ (x >> 16);
}

__device__ inline float uniform(uint32_t x) { return static_cast<float>((x >> 8) + 1) * (1.f / 16777217.f); }

// Element (row, channel) of tensor `which` (0 q, 1 k, 2 v). Outlier data as in the baselines.
__device__ inline float sample(uint64_t index, int64_t row, int64_t rows, int channel, int which, Data data) {
  const uint32_t a = mix(static_cast<uint32_t>(index) * 2u + which * 7919u + static_cast<uint32_t>(index >> 31) * 977u);
  const uint32_t b = mix(a ^ (0x9e3779b9u + static_cast<uint32_t>(index)));
  const float z = sqrtf(-2.f * logf(uniform(a))) * cospif(2.f * uniform(b));
  const float bias = (uniform(mix(channel * 31u + which)) * 2.f - 1.f) * 1.7320508f;
  switch (data) {
    case Data::kOutlier:
      return which == 0 ? 1.5f * z + bias : which == 1 ? z + 6.f * bias : z + 2.f * bias;
    case Data::kJumps: {  // row maxima that rise again and again on the way from the last key to the first
      const float t = static_cast<float>(rows - 1 - row) / rows;
      return which == 1 ? z * (0.05f + 4.f * t * t) + bias : z;
    }
    case Data::kTiny:
      return which == 2 ? z : 1e-4f * z;
    case Data::kFlatThenPeak:
      return which == 1 ? (row % 191 == 3 ? 6.f * z : 0.01f * z) : z;
    case Data::kHuge:  // keys whose distance from the mean is no fp16 number
      return which == 1 ? (row % 64 == 5 ? -52000.f : 45000.f) + 2000.f * z : z;
    case Data::kSink: {  // one key has about half of all weight at 8192 keys, the others share the rest
      const float shared_bias = (uniform(mix(channel * 31u)) * 2.f - 1.f) * 1.7320508f;
      return which == 0 ? z + 2.f * shared_bias : which == 1 ? (row == rows / 3 ? 0.56f * shared_bias : 0.1f * z) : z;
    }
    case Data::kLocal:
    case Data::kScattered: {
      // Rows of 16 kinds that attend to their own: in runs, or in blocks of 64 that lie anywhere. What a query has of
      // other kinds vanishes.
      const uint32_t kind = data == Data::kLocal ? row * 16 / rows : mix(row / 64 + 99) & 15;
      const float centre = mix(channel * 31u + kind * 1009u) & 1 ? 1.5f : -1.5f;
      return which == 2 ? z : centre + z;
    }
    default:
      return z;
  }
}

template <DType T>
__global__ void fill(typename Element<T>::type* x, Strides s, int heads, int64_t rows, int d, int which, Data data,
                     int64_t count) {
  for (int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x; i < count;
       i += static_cast<int64_t>(gridDim.x) * blockDim.x) {
    const int channel = i % d;
    const int64_t row = i / d % rows, head = i / d / rows % heads, batch = i / d / rows / heads;
    x[batch * s.batch + head * s.head + row * s.row + channel] =
        static_cast<typename Element<T>::type>(sample(i, row, rows, channel, which, data));
  }
}

struct Sampled {
  int batch, head, row;
};

// One CTA per sampled row: fp32 scores, fp64 sums. `from_images` takes Q and K from the quantised images, so that what
// remains is the error of P, V and the kernel. Writes d channels and the LSE.
template <DType T>
__global__ void reference(AttentionArgs a, int D, const Sampled* rows, bool from_images, float* out, float* lse) {
  extern __shared__ float s[];
  __shared__ double red[256];
  const Sampled w = rows[blockIdx.x];
  const int kv_head = w.head / a.group, tid = threadIdx.x;
  const auto* q = static_cast<const typename Element<T>::type*>(a.q) + w.batch * a.q_stride.batch +
                  w.head * a.q_stride.head + w.row * a.q_stride.row;
  const auto* k =
      static_cast<const typename Element<T>::type*>(a.k) + w.batch * a.k_stride.batch + kv_head * a.k_stride.head;
  const auto* v =
      static_cast<const typename Element<T>::type*>(a.v) + w.batch * a.v_stride.batch + kv_head * a.v_stride.head;
  int n = a.kv_lengths ? min(a.kv_lengths[w.batch], a.lk) : a.lk;
  n = max(0, min(n, w.row + a.causal_offset + 1));
  const int64_t kv = static_cast<int64_t>(w.batch) * a.heads_kv + kv_head,
                qh = static_cast<int64_t>(w.batch) * a.heads_q + w.head;
  float mx = -1e30f;
  for (int j = tid; j < n; j += 256) {
    float x = 0.f;
    if (from_images) {
      int sum = 0;
      for (int c = 0; c < D; c++) {
        const int64_t at = (c >> 4) * 128 + (c & 15);
        sum += a.q_image[(qh * a.lq_padded + (w.row & ~7)) * D + at + (w.row & 7) * 16] *
               a.k_image[(kv * a.lk_padded + (j & ~7)) * D + at + (j & 7) * 16];
      }
      x = sum * a.q_scale[qh * a.lq_padded + w.row] * a.k_scale[kv * (a.lk_padded / 8) + j / 32 * 4 + (j & 7) / 2] *
          kLn2;
    } else {
      for (int c = 0; c < a.head_dim; c++)
        x = fmaf(static_cast<float>(q[c]), static_cast<float>(k[j * a.k_stride.row + c]), x);
      x *= a.scale_log2 * kLn2 * a.q_sign;
    }
    s[j] = x;
    mx = fmaxf(mx, x);
  }
  red[tid] = mx;
  __syncthreads();
  for (int o = 128; o; o >>= 1) {
    if (tid < o) red[tid] = fmax(red[tid], red[tid + o]);
    __syncthreads();
  }
  const float m = static_cast<float>(red[0]);
  __syncthreads();
  double l = 0;
  for (int j = tid; j < n; j += 256) {
    s[j] = expf(s[j] - m);
    l += s[j];
  }
  red[tid] = l;
  __syncthreads();
  for (int o = 128; o; o >>= 1) {
    if (tid < o) red[tid] += red[tid + o];
    __syncthreads();
  }
  l = red[0];
  if (tid < a.head_dim) {
    double x = 0;
    for (int j = 0; j < n; j++)
      x += static_cast<double>(s[j]) * static_cast<double>(static_cast<float>(v[j * a.v_stride.row + tid]));
    out[static_cast<int64_t>(blockIdx.x) * a.head_dim + tid] = n > 0 ? static_cast<float>(x / l) : 0.f;
  }
  if (tid == 0) {
    float shift = 0.f;
    if (from_images && a.k_mean) {
      for (int c = 0; c < a.head_dim; c++) shift += static_cast<float>(q[c]) * a.k_mean[kv * a.head_dim + c];
      shift *= a.scale_log2 * kLn2 * a.q_sign;
    }
    lse[blockIdx.x] = n > 0 ? m + static_cast<float>(log(l)) + shift : -INFINITY;
  }
}

__global__ void count_differences(const uint32_t* a, const uint32_t* b, int64_t n, int* count) {
  int mine = 0;
  for (int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x; i < n;
       i += static_cast<int64_t>(gridDim.x) * blockDim.x) {
    mine += a[i] != b[i];
  }
  if (mine) atomicAdd(count, mine);
}

struct Shape {
  const char* name;
  int b, hq, hkv, lq, lk, d;
  int causal = 0;  // 0 no, 1 top-left, 2 bottom-right
  bool nhd = false, lengths = false, lse = true, smooth = true;
  Data data = Data::kNormal;
  float sm_scale = 0.f;
  bool from_images = false;
};

// Device memory of one request.
class Problem {
 public:
  Problem(const Shape& shape, const KernelEntry& kernel) : shape_(shape), kernel_(kernel) {
    AttentionArgs& a = args;
    a.batch = shape.b, a.heads_q = shape.hq, a.heads_kv = shape.hkv, a.group = shape.hq / shape.hkv;
    a.lq = shape.lq, a.lk = shape.lk, a.head_dim = shape.d;
    a.lk_padded = (shape.lk + kernel.key_tile - 1) / kernel.key_tile * kernel.key_tile;
    a.lq_padded = (shape.lq + kernel.query_tile - 1) / kernel.query_tile * kernel.query_tile;
    if (shape.causal) a.causal_offset = shape.causal == 2 ? shape.lk - shape.lq : 0;
    const float scale = shape.sm_scale != 0.f ? shape.sm_scale : 1.f / std::sqrt(static_cast<float>(shape.d));
    a.scale_log2 = std::fabs(scale) * 1.44269504f, a.q_sign = scale < 0 ? -1.f : 1.f;
    a.q = tensor(shape.hq, shape.lq, a.q_stride, 0), a.k = tensor(shape.hkv, shape.lk, a.k_stride, 1);
    a.v = tensor(shape.hkv, shape.lk, a.v_stride, 2), a.o = tensor(shape.hq, shape.lq, a.o_stride, 3);
    o_words = static_cast<int64_t>(shape.b) * shape.hq * shape.lq * shape.d / 2;
    const Fp8Workspace w = fp8_workspace(kernel, a);
    a.k_image = static_cast<int8_t*>(memory(w.k_image)), a.k_scale = static_cast<float*>(memory(w.k_scale));
    a.v_image = static_cast<uint8_t*>(memory(w.v_image)), a.v_scale = static_cast<float*>(memory(w.v_scale));
    a.q_image = static_cast<int8_t*>(memory(w.q_image)), a.q_scale = static_cast<float*>(memory(w.q_scale));
    if (shape.smooth) a.k_mean = static_cast<float*>(memory(w.k_mean));
    statistics = static_cast<float*>(memory(w.statistics));
    a.work_counter = static_cast<int32_t*>(memory(w.work_counter));
    a.images_done = static_cast<int32_t*>(memory(w.images_done));
    a.partials = static_cast<float*>(memory(w.partials));
    a.parts_done = static_cast<int32_t*>(memory(w.parts_done));
    a.images_wanted = fp8_images_per_head(kernel, a);
    a.v_error_unit = fp8_error_unit(a.lk);
    check(fp8_divide(kernel, &a), "divide");
    if (shape.lse) a.lse = static_cast<float*>(memory(static_cast<int64_t>(shape.b) * shape.hq * shape.lq * 4));
    if (shape.lengths) {
      std::vector<int32_t> n(shape.b);
      for (int i = 0; i < shape.b; i++) n[i] = i % 3 == 0 ? shape.lk : i % 3 == 1 ? shape.lk / 2 + 3 : 0;
      auto* lengths = static_cast<int32_t*>(memory(4 * shape.b));
      check(cudaMemcpy(lengths, n.data(), 4 * shape.b, cudaMemcpyHostToDevice), "copy");
      a.kv_lengths = lengths;
    }
    if (kernel.function == Function::kSparse) list_all_blocks();
  }
  ~Problem() {
    for (void* p : owned_) cudaFree(p);
  }
  Problem(const Problem&) = delete;

  // Fills what the pre-pass writes with NaN, and the counters with a number that is no count.
  void poison_images() {
    const Fp8Workspace w = fp8_workspace(kernel_, args);
    const auto fill = [](const void* p, int64_t bytes) {
      if (p != nullptr) check(cudaMemsetAsync(const_cast<void*>(p), 0xff, bytes), "poison");
    };
    fill(args.k_image, w.k_image), fill(args.k_scale, w.k_scale), fill(args.k_mean, w.k_mean);
    fill(args.v_image, w.v_image), fill(args.v_scale, w.v_scale), fill(args.q_image, w.q_image);
    fill(args.q_scale, w.q_scale), fill(statistics, w.statistics), fill(args.images_done, w.images_done);
    fill(args.partials, w.partials), fill(args.parts_done, w.parts_done);
  }
  void prepass() { check(enqueue_sm90_prepass(kernel_, args, statistics, {}, nullptr), "prepass"); }
  void attend() { check(kernel_.launch(args, nullptr), "attend"); }
  void attend_again() {
    check(cudaMemsetAsync(args.work_counter, 0, 4), "counter");
    attend();
  }
  void run() {
    prepass();
    attend();
  }

  AttentionArgs args;
  float* statistics = nullptr;
  int64_t o_words = 0;

 private:
  void* memory(int64_t bytes) {
    void* p = nullptr;
    check(cudaMalloc(&p, bytes + 256), "malloc");
    check(cudaMemset(p, 0xff, bytes + 256), "poison");
    owned_.push_back(p);
    return p;
  }
  void* tensor(int heads, int64_t rows, Strides& s, int which) {
    const int64_t d = shape_.d;
    s.row = shape_.nhd ? heads * d : d, s.head = shape_.nhd ? d : rows * d, s.batch = heads * rows * d;
    const int64_t count = shape_.b * heads * rows * d;
    void* p = memory(count * 2);
    if (which < 3 && count > 0) {
      if (kernel_.dtype == DType::kFloat16) {
        fill<DType::kFloat16><<<2048, 256>>>(static_cast<__half*>(p), s, heads, rows, d, which, shape_.data, count);
      } else {
        fill<DType::kBFloat16>
            <<<2048, 256>>>(static_cast<__nv_bfloat16*>(p), s, heads, rows, d, which, shape_.data, count);
      }
    }
    return p;
  }
  // For the kernel of SpargeAttn: every block of keys for every block of queries, the last blocks of queries first.
  // What a causal mask hides is listed too, for the kernel to mask.
  void list_all_blocks() {
    AttentionArgs& a = args;
    const int queries = (a.lq + kernel_.query_tile - 1) / kernel_.query_tile, keys = a.lk_padded / kernel_.key_tile;
    std::vector<int32_t> list, count, order, lengths(a.batch, a.lk);
    if (a.kv_lengths) {
      check(cudaMemcpy(lengths.data(), a.kv_lengths, 4 * a.batch, cudaMemcpyDeviceToHost), "copy");
    }
    for (int64_t row = 0; row < static_cast<int64_t>(a.batch) * a.heads_q * queries; row++) {
      const int n = lengths[row / queries / a.heads_q];
      for (int j = 0; j < keys; j++) list.push_back(j);
      count.push_back((n + kernel_.key_tile - 1) / kernel_.key_tile);
      order.push_back(queries - 1 - static_cast<int>(row % queries));
    }
    a.blocks.list = upload(list), a.blocks.count = upload(count), a.blocks.order = upload(order);
    a.blocks.pv_threshold = INFINITY;
  }
  const int32_t* upload(const std::vector<int32_t>& values) {
    void* p = memory(4 * static_cast<int64_t>(values.size()));
    check(cudaMemcpy(p, values.data(), 4 * values.size(), cudaMemcpyHostToDevice), "copy");
    return static_cast<const int32_t*>(p);
  }
  Shape shape_;
  KernelEntry kernel_;
  std::vector<void*> owned_;
};

// Milliseconds of the GPU, without what the host takes to launch: before each run comes something long, which also
// leaves nothing of the run before in the L2 cache.
template <class F>
float median_ms(F f, int warmup, int reps) {
  constexpr size_t kFlushed = 192 << 20;
  static void* flushed = nullptr;
  if (flushed == nullptr) check(cudaMalloc(&flushed, kFlushed), "malloc");
  cudaEvent_t a, b;
  cudaEventCreate(&a);
  cudaEventCreate(&b);
  std::vector<float> t;
  for (int i = 0; i < warmup + reps; i++) {
    check(cudaMemsetAsync(flushed, i, kFlushed), "flush");
    cudaEventRecord(a);
    f();
    cudaEventRecord(b);
    cudaEventSynchronize(b);
    float ms;
    cudaEventElapsedTime(&ms, a, b);
    if (i >= warmup) t.push_back(ms);
  }
  check(cudaDeviceSynchronize(), "timing");
  cudaEventDestroy(a);
  cudaEventDestroy(b);
  std::sort(t.begin(), t.end());
  return t[t.size() / 2];
}

}  // namespace hopper
