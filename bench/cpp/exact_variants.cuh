// What exact_check.cu runs: the kernel as the library chooses it, and each of its tile shapes.
#pragma once

#include <vector>

#include "attention/f16_wgmma/exact.cuh"

struct Variant {
  const char* name;
  int head_dim;
  attn4j::DType dtype;
  cudaError_t (*launch)(const attn4j::AttentionArgs&, cudaStream_t);
};

template <class Tile>
cudaError_t launch_tile(const attn4j::AttentionArgs& args, cudaStream_t stream) {
  int device = 0, sms = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&sms, cudaDevAttrMultiProcessorCount, device);
  return attn4j::launch_exact_wgmma<Tile>(args, sms, stream);
}

template <int kD, attn4j::DType T>
void add_variants(std::vector<Variant>& list, const char* const (&names)[4]) {
  using Tiles = attn4j::ExactTiles<kD, T>;
  list.push_back({names[0], kD, T, &attn4j::ExactWgmma<kD, T>::launch});
  list.push_back({names[1], kD, T, &launch_tile<typename Tiles::Narrow>});
  list.push_back({names[2], kD, T, &launch_tile<typename Tiles::Wide>});
  list.push_back({names[3], kD, T, &launch_tile<typename Tiles::Short>});
}

inline const std::vector<Variant>& variants() {
  using attn4j::DType;
#define ATTN4J_VARIANTS(d)                                                                       \
  add_variants<d, DType::kFloat16>(                                                              \
      v, {"d" #d "/f16/chosen", "d" #d "/f16/narrow", "d" #d "/f16/wide", "d" #d "/f16/short"}); \
  add_variants<d, DType::kBFloat16>(                                                             \
      v, {"d" #d "/bf16/chosen", "d" #d "/bf16/narrow", "d" #d "/bf16/wide", "d" #d "/bf16/short"});
  static const std::vector<Variant> list = [] {
    std::vector<Variant> v;
    ATTN4J_VARIANTS(128)
    ATTN4J_VARIANTS(64)
    ATTN4J_VARIANTS(96)
    ATTN4J_VARIANTS(160)
    ATTN4J_VARIANTS(192)
    ATTN4J_VARIANTS(256)
    return v;
  }();
#undef ATTN4J_VARIANTS
  return list;
}
