#include "test/masks.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cmath>
#include <limits>
#include <random>

#include "test/problem.h"

namespace emulation_test {

// Strides of a mask without the dimensions that repeat, whose last one is the keys' or, turned, the queries'. Elements.
int64_t TestMasks::lay_out(const Case& c, int repeats, Plane* plane) {
  const int64_t sizes[4] = {c.b, c.hq, c.lq, c.lk};
  const int order[2][4] = {{3, 2, 1, 0}, {2, 3, 1, 0}};
  int64_t count = 1;
  for (const int i : order[c.turned]) {
    if ((repeats >> i & 1) != 0) continue;
    plane->stride[i] = count;
    count *= sizes[i];
  }
  plane->values.resize(static_cast<size_t>(count));
  return count;
}

void TestMasks::make(const Case& c, const std::function<void*(int64_t)>& allocate, attn4j::AttentionParams* params) {
  window_ = params->window = {c.left, c.right, c.prefix};
  offset_ = c.lk - c.lq;
  std::mt19937 random(static_cast<uint32_t>(c.data + 2));
  std::normal_distribution<float> normal;
  const auto shows = [&] { return static_cast<int>(random() % 100) < c.shown; };
  const auto view = [](void* data, const Plane& plane, attn4j::MaskType type) {
    attn4j::MaskView v;
    v.data = data, v.type = type;
    for (int i = 0; i < 4; i++) v.stride[i] = plane.stride[i];
    return v;
  };
  if (c.seen != 0) {
    const int64_t count = lay_out(c, c.seen == 1 ? 6 : c.repeats, &seen_);  // 1: of keys
    auto* bytes = static_cast<uint8_t*>(allocate(count));
    for (int64_t i = 0; i < count; i++) {
      bytes[i] = static_cast<uint8_t>(shows() ? 1 + random() % 255 : 0);
      seen_.values[i] = bytes[i] != 0 ? 0. : -INFINITY;
    }
    params->seen = view(bytes, seen_, attn4j::MaskType::kSeen);
  }
  if (c.bias == 0) return;
  const int64_t count = lay_out(c, c.repeats, &bias_);
  void* data = allocate(4 * count);
  for (int64_t i = 0; i < count; i++) {
    const float hidden = c.least != 0 ? -std::numeric_limits<float>::max() : -INFINITY;
    const float x = c.seen == 0 && !shows() ? hidden : 3.f * normal(random);
    if (c.bias == 1) {
      const __half y = __float2half_rn(x);
      static_cast<__half*>(data)[i] = y, bias_.values[i] = __half2float(y);
    } else if (c.bias == 2) {
      const __nv_bfloat16 y = __float2bfloat16_rz(x);
      static_cast<__nv_bfloat16*>(data)[i] = y, bias_.values[i] = __bfloat162float(y);
    } else {
      static_cast<float*>(data)[i] = x, bias_.values[i] = x;
    }
  }
  params->bias = view(data, bias_, static_cast<attn4j::MaskType>(c.bias));
}

double TestMasks::addend(int64_t batch, int64_t head, int64_t row, int64_t key) const {
  const int64_t distance = key - (row + offset_);
  const bool before = window_.left >= 0 && distance < -window_.left;
  const bool behind = window_.right >= 0 && distance > window_.right;
  if ((before || behind) && key >= window_.prefix) return -INFINITY;
  double sum = 0;
  if (!seen_.values.empty()) sum = seen_.at(batch, head, row, key);
  if (!bias_.values.empty() && sum == 0) sum = bias_.at(batch, head, row, key);
  return sum;
}

bool TestMasks::hides(const Case& c, int64_t batch, int64_t kv_head, int64_t key) const {
  const int64_t group = c.hq / c.hkv;
  for (int64_t head = kv_head * group; head < (kv_head + 1) * group; head++) {
    for (int64_t row = 0; row < c.lq; row++) {
      if (addend(batch, head, row, key) != -INFINITY) return false;
    }
  }
  return true;
}

}  // namespace emulation_test
