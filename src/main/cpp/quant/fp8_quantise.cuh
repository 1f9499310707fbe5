// The images of the Hopper path, a block of rows at a time.
#pragma once

#include <cstdint>

#include "device/numeric.cuh"
#include "device/ptx/fp8.cuh"
#include "device/ptx/shared_access.cuh"
#include "quant/fp8_image.cuh"
#include "quant/fp8_pool.cuh"
#include "quant/fp8_rows.cuh"
#include "quant/fp8_statistics.cuh"
#include "quant/fp8_team.cuh"

namespace attn4j {

constexpr int kPooledKeys = 64, kPooledQueries = 128;  // rows of the blocks that are pooled

template <int D>
using Pool = PoolScratch<D, kTeamThreads / PrepassShape<D>::kLanes>;

__device__ __forceinline__ int round_up(int x, int multiple) { return (x + multiple - 1) / multiple * multiple; }

// Rounds x * factor, at most 127 in size, to the nearest even: added to 1.5 * 2^23, a float's low byte is the integer.
__device__ __forceinline__ uint32_t round_int8x4(float a, float b, float c, float d, float factor) {
  constexpr float kMagic = 12582912.f;
  const uint32_t x = __float_as_uint(fmaf(a, factor, kMagic)), y = __float_as_uint(fmaf(b, factor, kMagic));
  const uint32_t z = __float_as_uint(fmaf(c, factor, kMagic)), w = __float_as_uint(fmaf(d, factor, kMagic));
  return __byte_perm(__byte_perm(x, y, 0x0040), __byte_perm(z, w, 0x0040), 0x5410);
}

using Half = Element<DType::kFloat16>;

// A thread's part of a row: 16-bit elements, two in a word.
template <int D>
struct RowPart {
  static constexpr int kPieces = PrepassShape<D>::kPartChannels / 8, kWords = 4 * kPieces;
  uint32_t words[kWords];

  __device__ __forceinline__ void load(const RowsBuffer<D>& rows, int row, int part) {
#pragma unroll
    for (int i = 0; i < kPieces; i++) {
      const uint4 x = ptx::load_shared_words4(rows.address(row, part * kPieces + i));
      words[4 * i] = x.x, words[4 * i + 1] = x.y, words[4 * i + 2] = x.z, words[4 * i + 3] = x.w;
    }
  }

  // x / 2 - shift / 2, which no two numbers of the type can take out of its range. `addend` is minus half of the shift,
  // in shared memory, the same for many lanes.
  template <DType T>
  __device__ __forceinline__ void half_difference(uint32_t addend) {
    using E = Element<T>;
    const auto half = E::two(E::pack(0.5f, 0.5f));
#pragma unroll
    for (int i = 0; i < kPieces; i++) {
      const uint4 s = ptx::load_shared_words4(addend + 16 * i);
      words[4 * i] = E::fma2(words[4 * i], half, E::two(s.x));
      words[4 * i + 1] = E::fma2(words[4 * i + 1], half, E::two(s.y));
      words[4 * i + 2] = E::fma2(words[4 * i + 2], half, E::two(s.z));
      words[4 * i + 3] = E::fma2(words[4 * i + 3], half, E::two(s.w));
    }
  }

  // The largest absolute value; NaN if there is one.
  template <DType T>
  __device__ __forceinline__ float absmax() const {
    using E = Element<T>;
    // Of three operands each: an absolute value would be an instruction more.
    uint32_t high = E::max2(words[0], words[1]), low = E::min2(words[0], words[1]);
#pragma unroll
    for (int i = 2; i < kWords; i += 2) {
      high = E::max2(E::max2(high, words[i]), words[i + 1]);
      low = E::min2(E::min2(low, words[i]), words[i + 1]);
    }
    const float2 two = E::unpack(E::max2(high, E::neg2(low)));
    return ptx::max_nan(two.x, two.y);
  }

  // Writes INT8 codes of all elements, with a scale that makes `absmax` 127, negated if `sign` is. Returns the scale.
  template <DType T>
  __device__ __forceinline__ float quantise(float absmax, float sign, int8_t* image) const {
    // Below, 127 / absmax is no fp16 number.
    constexpr float kLeastPacked = 0x1p-8f, kMinAbsmax = 1e-12f;
    if (T == DType::kFloat16 && absmax >= kLeastPacked && absmax < kInfinity) {
      // Two at once: added to 1.5 * 2^10, the low byte of an fp16 number is the integer, rounded once, to nearest even.
      const __half inverse = __float2half_rn(sign * 127.f * ptx::rcp_approx_ftz(absmax));
      const __half2 factor = __half2half2(inverse), magic = __float2half2_rn(1536.f);
      store_codes(image, [&](uint32_t x, uint32_t y) {
        return __byte_perm(Half::fma2(x, factor, magic), Half::fma2(y, factor, magic), 0x6420);
      });
      return ptx::rcp_approx_ftz(fabsf(__half2float(inverse)));
    }
    const float most = ptx::max_nan(absmax, kMinAbsmax), inverse = sign * 127.f * ptx::rcp_approx(most);
    store_codes(image, [&](uint32_t x, uint32_t y) {
      const float2 a = Element<T>::unpack(x), b = Element<T>::unpack(y);
      return round_int8x4(a.x, a.y, b.x, b.y, inverse);
    });
    // Keys that share a scale with one that isn't finite have none either: rows that meet it are computed again
    // (attention/nonfinite.cuh).
    return most < kInfinity ? most * (1.f / 127.f) : __int_as_float(0x7fffffff);
  }

 private:
  // `code` makes 4 codes of 2 words.
  template <class Code>
  __device__ __forceinline__ void store_codes(int8_t* image, const Code& code) const {
#pragma unroll
    for (int i = 0; i < kWords; i += 8) {  // 16 channels; 8 rows of them are 128 bytes
      const uint4 w = make_uint4(code(words[i], words[i + 1]), code(words[i + 2], words[i + 3]),
                                 code(words[i + 4], words[i + 5]), code(words[i + 6], words[i + 7]));
      *reinterpret_cast<uint4*>(image + 16 * i) = w;
    }
  }
};

// Pools a block of K, minus its shift. The lanes of a row are neighbours, and a group of lanes takes 8 rows.
template <int D, DType T>
__device__ __forceinline__ void pool_k(const Fp8Team& team, const PrepassParams& p, const Fp8Step& step,
                                       const RowsBuffer<D>& rows, Pool<D>& pool) {
  constexpr int kLanes = PrepassShape<D>::kLanes, kBlock = PrepassShape<D>::kBlock;
  const int piece = team.thread() % kLanes, group = team.thread() / kLanes;
  float shift[8] = {};
  if (p.a.k_mean != nullptr && piece < PrepassShape<D>::kPieces) {
    const float* from = statistics_of<D>(p, step.kv_head).shift() + 8 * piece;
#pragma unroll
    for (int e = 0; e < 8; e++) shift[e] = from[e];
  }
  PoolSums sums;
#pragma unroll
  for (int i = 0; i < 8; i++) {
    const int row = 8 * group + i;
    float x[8];
    load_row8<D, T>(x, rows, row, piece);
#pragma unroll
    for (int e = 0; e < 8; e++) x[e] -= shift[e];
    sums.add<kLanes>(x, step.first + row < step.end);
  }
  pool.store(group, piece, sums);
  const PooledBlocks& out = p.extras.k;
  pool.template finish<kBlock / kPooledKeys>(
      team, out, static_cast<int64_t>(step.kv_head) * out.blocks + step.first / kPooledKeys, step.end - step.first);
}

// The keys {32g + 8i + 2t + e} share a scale; the parts of these 8 rows are neighbours but for the bits of t.
template <int D, DType T, bool kPool>
__device__ __forceinline__ void quantise_k(const Fp8Team& team, const PrepassParams& p, const Fp8Step& step,
                                           const RowsBuffer<D>& rows, StatisticsScratch<D>& scratch, Pool<D>& pool) {
  using Shape = PrepassShape<D>;
  const AttentionArgs& a = p.a;
  const int lane = team.thread() % 32, warp = team.thread() / 32;
  uint4* const shift = scratch.threads + warp * (D / 8);  // the warp's own copy: it lasts for the unit
  if (a.k_mean != nullptr && step.block == 0) {
    await_mean(p, step.kv_head);
    const auto* from = reinterpret_cast<const uint4*>(statistics_of<D>(p, step.kv_head).minus_half_shift());
    if (lane < D / 8) shift[lane] = __ldcg(from + lane);
    __syncwarp();
  }
  if constexpr (kPool) pool_k<D, T>(team, p, step, rows, pool);
  // Lane bits: e, the low bit of t, i. Then the high bit of t, or, where two warps share 32 keys, the part.
  const int high = lane >> 4, part = Shape::kParts == 1 ? 0 : high;
  const int t = (lane >> 1 & 1) | (Shape::kParts == 1 ? high : warp & 1) << 1;
  const int row = 32 * (warp / Shape::kParts) + 8 * (lane >> 2 & 3) + 2 * t + (lane & 1);
  const int key = step.first + row, key_end = round_up(step.end, p.key_tile);
  if ((key & ~31) >= key_end) return;  // whole warps: key_end is a multiple of 32
  RowPart<D> x;
  x.load(rows, row, part);
  float unit = 1.f;
  if (a.k_mean != nullptr) {
    x.template half_difference<T>(ptx::shared_address(shift) + part * (Shape::kPartChannels * 2));
    unit = 2.f;
  }
  float absmax = x.template absmax<T>();
#pragma unroll
  for (int o = 1; o < 16 * Shape::kParts; o <<= 1) {
    if (o != 2) absmax = ptx::max_nan(absmax, __shfl_xor_sync(kFullWarp, absmax, o));
  }
  int8_t* image = const_cast<int8_t*>(a.k_image) + static_cast<int64_t>(step.kv_head) * a.lk_padded * D;
  const float scale =
      unit * x.template quantise<T>(absmax, 1.f, image + image_offset<D>(key, part * (Shape::kPartChannels / 8)));
  if ((lane & 13) == 0 && part == 0) {
    const_cast<float*>(a.k_scale)[static_cast<int64_t>(step.kv_head) * (a.lk_padded / 8) + (key >> 5) * 4 + t] = scale;
  }
}

// e4m3 codes of 4 channels of 16 keys, and what rounding added, by channel. Channels stand in pairs, c and c + 1.
struct QuantisedValues {
  uint32_t codes[4][4];
  __half2 error[4];

  // Keys 2q, 2q + 1 (half 0) or 8 + 2q, 9 + 2q (half 1) of channel c.
  template <int c>
  __device__ __forceinline__ void put(int q, int half, uint32_t two) {
    const uint16_t code = ptx::pack_e4m3x2(two);
    const uint32_t back = ptx::unpack_e4m3x2(code);
    error[c] = __hadd2(error[c], __hsub2(Half::two(two), Half::two(back)));
    codes[c][q] = half == 0 ? code : codes[c][q] | static_cast<uint32_t>(code) << 16;
  }
};

// The same for values some of which don't exist, are hidden (bits) or are not finite, byte by byte: the codes of the
// latter are NaN, of the others 0. Returns what rounding added.
template <int D, DType T>
__device__ __forceinline__ float4 quantise_carefully(const RowsBuffer<D>& rows, int row, int channel, int count,
                                                     uint32_t hidden, const uint4& transforms, uint8_t* target) {
  const uint32_t words[4] = {transforms.x, transforms.y, transforms.z, transforms.w};
  float error[4] = {};
#pragma unroll 1
  for (int i = 0; i < 16; i++) {
    const uint2 two = ptx::load_shared_words2(rows.address(row + i, channel / 8) + 2 * (channel & 4));
    const float2 a = Element<T>::unpack(two.x), b = Element<T>::unpack(two.y);
    const float v[4] = {a.x, a.y, b.x, b.y};
    const int position = 4 * ((i & 7) >> 1) + 2 * (i >> 3) + (i & 1);
#pragma unroll
    for (int c = 0; c < 4; c++) {
      const bool finite = fabsf(v[c]) < kInfinity;
      const bool exists = i < count && (hidden >> i & 1) == 0;
      const float x = exists && finite ? ValueTransform(words[c])(v[c]) : 0.f;
      const uint32_t pair = Half::pack(x, 0.f);
      const uint32_t code = ptx::pack_e4m3x2(pair);
      error[c] += Half::unpack(pair).x - Half::unpack(ptx::unpack_e4m3x2(static_cast<uint16_t>(code))).x;
      target[(c & 1) * kVNextColumn + (c >> 1) * kVNextPair + position] =
          exists && !finite ? 0x7f : static_cast<uint8_t>(code);
    }
  }
  return make_float4(error[0], error[1], error[2], error[3]);
}

// A thread takes 4 channels of 16 keys: the transpose happens in its registers.
template <int D, DType T, bool kListed>
__device__ __forceinline__ float4 quantise_values(const RowsBuffer<D>& rows, int row, int channel, int count,
                                                  uint32_t hidden, const uint4& transforms, uint8_t* target) {
  using E = Element<T>;
  const ValueTransform t[4] = {ValueTransform(transforms.x), ValueTransform(transforms.y), ValueTransform(transforms.z),
                               ValueTransform(transforms.w)};
  QuantisedValues out;
#pragma unroll
  for (__half2& e : out.error) e = __float2half2_rn(0.f);
  const auto load = [&](int i) {
    return ptx::load_shared_words2(rows.address(row + i, channel / 8) + 2 * (channel & 4));
  };
  if (T == DType::kFloat16 && t[0].fits_fp16() && t[1].fits_fp16() && t[2].fits_fp16() && t[3].fits_fp16()) {
    const __half2 low = __floats2half2_rn(t[0].factor, t[1].factor), high = __floats2half2_rn(t[2].factor, t[3].factor);
    const __half2 minus_low = __floats2half2_rn(-t[0].shift, -t[1].shift);
    const __half2 minus_high = __floats2half2_rn(-t[2].shift, -t[3].shift);
#pragma unroll
    for (int i = 0; i < 16; i += 2) {
      const uint2 x = load(i), y = load(i + 1);
      const uint32_t x0 = Half::fma2(x.x, low, minus_low), x1 = Half::fma2(x.y, high, minus_high);
      const uint32_t y0 = Half::fma2(y.x, low, minus_low), y1 = Half::fma2(y.y, high, minus_high);
      const int q = i % 8 / 2, half = i / 8;
      out.put<0>(q, half, __byte_perm(x0, y0, 0x5410)), out.put<1>(q, half, __byte_perm(x0, y0, 0x7632));
      out.put<2>(q, half, __byte_perm(x1, y1, 0x5410)), out.put<3>(q, half, __byte_perm(x1, y1, 0x7632));
    }
  } else {
#pragma unroll
    for (int i = 0; i < 16; i += 2) {
      const uint2 x = load(i), y = load(i + 1);
      const float2 x0 = E::unpack(x.x), x1 = E::unpack(x.y), y0 = E::unpack(y.x), y1 = E::unpack(y.y);
      const int q = i % 8 / 2, half = i / 8;
      out.put<0>(q, half, Half::pack(t[0](x0.x), t[0](y0.x))), out.put<1>(q, half, Half::pack(t[1](x0.y), t[1](y0.y)));
      out.put<2>(q, half, Half::pack(t[2](x1.x), t[2](y1.x))), out.put<3>(q, half, Half::pack(t[3](x1.y), t[3](y1.y)));
    }
  }
  float e[4];
#pragma unroll
  for (int c = 0; c < 4; c++) e[c] = __low2float(out.error[c]) + __high2float(out.error[c]);
  if (count < 16 || (kListed && hidden != 0) || !(fabsf(e[0]) + fabsf(e[1]) + fabsf(e[2]) + fabsf(e[3]) < kInfinity)) {
    return quantise_carefully<D, T>(rows, row, channel, count, kListed ? hidden : 0, transforms, target);
  }
#pragma unroll
  for (int c = 0; c < 4; c++) {
    *reinterpret_cast<uint4*>(target + (c & 1) * kVNextColumn + (c >> 1) * kVNextPair) =
        make_uint4(out.codes[c][0], out.codes[c][1], out.codes[c][2], out.codes[c][3]);
  }
  return make_float4(e[0], e[1], e[2], e[3]);
}

// Makes the transforms of a thread's 4 channels, with or without a mean. `writes`: it is the one that leaves for
// attention what undoes them.
template <int D>
__device__ __forceinline__ uint4 value_transforms(const PrepassParams& p, int32_t kv_head, int channel, bool with_mean,
                                                  bool writes) {
  const HeadStatistics<D> head = statistics_of<D>(p, kv_head);
  float* scale = const_cast<float*>(p.a.v_scale) + int64_t{kv_head} * v_scale_size(D) + channel;
  uint32_t words[4];
#pragma unroll
  for (int c = 0; c < 4; c++) {
    const ValueTransform t(from_ordered(__ldcg(head.v_highest() + channel + c)),
                           -from_ordered(__ldcg(head.v_lowest() + channel + c)),
                           with_mean ? __ldcg(head.v_mean() + channel + c) : 0.f);
    words[c] = t.word();
    if (writes) scale[c] = t.scale(), scale[2 * D + c] = t.mean();
  }
  return make_uint4(words[0], words[1], words[2], words[3]);
}

template <int D, DType T, bool kListed>
__device__ __forceinline__ void quantise_v(const Fp8Team& team, const PrepassParams& p, const Fp8Step& step,
                                           const RowsBuffer<D>& rows, StatisticsScratch<D>& scratch) {
  const AttentionArgs& a = p.a;
  constexpr int kBlock = PrepassShape<D>::kBlock, kQuads = D / 4, kSharing = kBlock / 16;
  static_assert(kSharing * kQuads <= kTeamThreads);
  const int channel = 4 * (team.thread() % kQuads), row = 16 * (team.thread() / kQuads);
  const int first = step.first + row, key_end = min(round_up(step.end, p.key_tile), step.first + kBlock);
  if (step.block == 0) {
    await_v_statistics(p, step.kv_head);
    const bool with_mean = all_values_differ_from_zero<D>(statistics_of<D>(p, step.kv_head));
    if (first < key_end) {
      scratch.transforms[team.thread()] = value_transforms<D>(p, step.kv_head, channel, with_mean, first == 0);
    }
  }
  uint8_t* image = const_cast<uint8_t*>(a.v_image) + static_cast<int64_t>(step.kv_head) * a.lk_padded * (D + 8);
  float4 errors = make_float4(0.f, 0.f, 0.f, 0.f);
  if (first < key_end) {
    const uint32_t hidden = kListed ? hidden_keys(a, step.batch(p), first) : 0;
    errors =
        quantise_values<D, T, kListed>(rows, row, channel, step.end - first, hidden, scratch.transforms[team.thread()],
                                       image + v_unit_offset<D>(first, v_column(channel)));
  }
  // The last group of columns: ones for valid keys in column D, zeros behind it.
  const int t = step.first + 16 * (team.thread() >> 3), ones_row = team.thread() & 7;
  if (t < key_end) {
    uint32_t w[4] = {0u, 0u, 0u, 0u};
    if (ones_row == 0) {
      const uint32_t hidden = kListed ? hidden_keys(a, step.batch(p), t) : 0;
#pragma unroll
      for (int n = 0; n < 16; n++) {
        const int j = n & 3, i = 8 * (j >> 1) + 2 * (n >> 2) + (j & 1), key = t + i;
        if (key < step.end && !(kListed && (hidden >> i & 1) != 0))
          w[n >> 2] |= static_cast<uint32_t>(kE4m3One) << (8 * j);
      }
    }
    *reinterpret_cast<uint4*>(image + v_unit_offset<D>(t, D + ones_row)) = make_uint4(w[0], w[1], w[2], w[3]);
  }
  add_errors<D, kSharing>(team, p, step, errors, scratch);
}

// Pools a block of Q: the lanes of a row are neighbours.
template <int D, DType T>
__device__ __forceinline__ void pool_q(const Fp8Team& team, const PrepassParams& p, const Fp8Step& step,
                                       const RowsBuffer<D>& rows, Pool<D>& pool) {
  constexpr int kLanes = PrepassShape<D>::kLanes, kRows = kTeamThreads / kLanes, kBlock = PrepassShape<D>::kBlock;
  const int piece = team.thread() % kLanes, group = team.thread() / kLanes;
  const PooledBlocks& out = p.extras.q;
  const int64_t first_block =
      (static_cast<int64_t>(step.batch(p)) * p.a.heads_q + step.head) * out.blocks + step.first / out.block;
#pragma unroll
  for (int block = 0; block < kBlock / kPooledQueries; block++) {
    PoolSums sums;
#pragma unroll
    for (int i = 0; i < kPooledQueries / kRows; i++) {
      const int row = block * kPooledQueries + i * kRows + group;
      float x[8];
      load_row8<D, T>(x, rows, row, piece);
      sums.add<kLanes>(x, step.first + row < p.a.lq);
    }
    pool.store(group, piece, sums);
    pool.template finish<1>(team, out, first_block + block, p.a.lq - step.first - block * kPooledQueries);
  }
}

// One scale per query, with the softmax scale in it, and q . mean(k) where an LSE needs it.
template <int D, DType T, bool kPool>
__device__ __forceinline__ void quantise_q(const Fp8Team& team, const PrepassParams& p, const Fp8Step& step,
                                           const RowsBuffer<D>& rows, Pool<D>& pool) {
  using Shape = PrepassShape<D>;
  const AttentionArgs& a = p.a;
  if constexpr (kPool) pool_q<D, T>(team, p, step, rows, pool);
  const bool with_shift = a.lse != nullptr && a.k_mean != nullptr;
  if (with_shift && step.block == 0) await_mean(p, step.kv_head);
  constexpr int kRows = 32 / Shape::kParts;  // of a warp
  const int lane = team.thread() % 32, part = lane / kRows, row = team.thread() / 32 * kRows + lane % kRows;
  if (step.first + row >= a.lq_padded) return;  // whole warps: lq_padded is a multiple of 128
  const int64_t at = (static_cast<int64_t>(step.batch(p)) * a.heads_q + step.head) * a.lq_padded + step.first + row;
  RowPart<D> x;
  x.load(rows, row, part);
  float absmax = x.template absmax<T>();
  if (Shape::kParts == 2) absmax = ptx::max_nan(absmax, __shfl_xor_sync(kFullWarp, absmax, 16));
  int8_t* image = const_cast<int8_t*>(a.q_image) + image_offset<D>(at, part * (Shape::kPartChannels / 8));
  float* scale = const_cast<float*>(a.q_scale) + at;
  const float own = x.template quantise<T>(absmax, a.q_sign, image) * a.scale_log2;
  if (part == 0) *scale = own;
  if (!with_shift) return;
  const float* shift = statistics_of<D>(p, step.kv_head).shift() + part * Shape::kPartChannels;
  __syncwarp();             // as far as the compiler knows, the rows may have changed:
  x.load(rows, row, part);  // there are no registers to keep what was unpacked
  float dot = 0.f;
#pragma unroll
  for (int i = 0; i < RowPart<D>::kWords; i++) {
    const float2 two = Element<T>::unpack(x.words[i]), s = *reinterpret_cast<const float2*>(shift + 2 * i);
    dot = fmaf(two.x, s.x, dot), dot = fmaf(two.y, s.y, dot);
  }
  if (Shape::kParts == 2) dot += __shfl_xor_sync(kFullWarp, dot, 16);
  if (part == 0) scale[static_cast<int64_t>(a.batch) * a.heads_q * a.lq_padded] = dot * a.q_sign * a.scale_log2;
}

}  // namespace attn4j
