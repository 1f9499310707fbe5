// Variants of attention/attend_wgmma_wide.cuh beside the library's kernel, for hopper_check.cu built with
// -DHOPPER_VARIANTS: link the two.
#include "attention/attend_wgmma.cuh"
#include "attention/attend_wgmma_wide.cuh"

#include <vector>

namespace hopper {

using namespace attn4j;

struct W4 : WideTuning {};
struct W4Explicit : W4 {
  static constexpr bool kOptimistic = false;
};
struct W4QShared : W4 {
  static constexpr bool kQInRegisters = false;
};
struct W4Overlap : W4QShared {
  static constexpr bool kOverlap = true;
};
struct W4Poly8 : W4 {
  static constexpr int kPolyEvery = 8;
};
struct W4Poly4 : W4 {
  static constexpr int kPolyEvery = 4;
};
struct W4Head3 : W4 {
  static constexpr float kHeadroom = 3.f;
};
struct W4Delayed : W4 {
  static constexpr bool kRandomDelay = true;
};
struct W3 : WideTuning {  // 3 warpgroups, 96 keys
  static constexpr int kConsumers = 3, kTile = 96, kStages = 4, kFoldStages = 2;
};
struct W3Overlap : W3 {
  static constexpr bool kOverlap = true;
};
struct W3OverlapPoly4 : W3Overlap {
  static constexpr int kPolyEvery = 4;
};
struct W3OverlapDelayed : W3Overlap {
  static constexpr bool kRandomDelay = true;
};
struct W3Wide : WideTuning {  // 128 keys
  static constexpr int kConsumers = 3, kTile = 128, kTiles = 1, kStages = 5, kFoldStages = 4;
};
struct D128 : WideTuning {
  static constexpr int kHeadDim = 128, kConsumers = 3, kTiles = 1, kStages = 4, kFoldStages = 8;
  static constexpr bool kQInRegisters = false;
};
struct D128QRegisters : D128 {
  static constexpr bool kQInRegisters = true;
};
struct D128Overlap : D128 {
  static constexpr int kTiles = 2, kStages = 2, kFoldStages = 4;
  static constexpr bool kOverlap = true;
};
struct D128OverlapPoly8 : D128Overlap {
  static constexpr int kPolyEvery = 8;
};

template <class C>
KernelEntry wide(const char* name) {
  using P = WidePolicy<C>;
  return {Family::kWgmmaInt8Fp8, P::kHeadDim, DType::kFloat16, P::kKeys, P::kRows, name, wide_launch<P, DType::kFloat16>};
}

std::vector<KernelEntry>& registry() {
  static std::vector<KernelEntry> entries = {
      WgmmaInt8Fp8<64, DType::kFloat16>::entry("base64"),
      wide<W4>("w4"),
      wide<W4Explicit>("w4/explicit"),
      wide<W4QShared>("w4/qshared"),
      wide<W4Overlap>("w4/overlap"),
      wide<W4Poly8>("w4/poly8"),
      wide<W4Poly4>("w4/poly4"),
      wide<W4Head3>("w4/head3"),
      wide<W3>("w3"),
      wide<W3Overlap>("w3/overlap"),
      wide<W3OverlapPoly4>("w3/ov/poly4"),
      wide<W3Wide>("w3/128keys"),
      wide<W4Delayed>("delayed/w4"),
      wide<W3OverlapDelayed>("delayed/w3"),
      WgmmaInt8Fp8<128, DType::kFloat16>::entry("base128"),
      wide<D128>("d128"),
      wide<D128QRegisters>("d128/qreg"),
      wide<D128Overlap>("d128/overlap"),
      wide<D128OverlapPoly8>("d128/ov/poly8"),
  };
  return entries;
}

}  // namespace hopper
