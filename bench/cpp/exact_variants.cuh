// What exact_check.cu runs: the kernel as the library chooses it, and each of its tile shapes.
#pragma once

#include <vector>

#include "attention/exact_wgmma.cuh"

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
  static const std::vector<Variant> list = [] {
    std::vector<Variant> v;
    add_variants<128, DType::kFloat16>(v, {"d128/f16/chosen", "d128/f16/narrow", "d128/f16/wide", "d128/f16/short"});
    add_variants<64, DType::kFloat16>(v, {"d64/f16/chosen", "d64/f16/narrow", "d64/f16/wide", "d64/f16/short"});
    add_variants<96, DType::kFloat16>(v, {"d96/f16/chosen", "d96/f16/narrow", "d96/f16/wide", "d96/f16/short"});
    add_variants<128, DType::kBFloat16>(v,
                                        {"d128/bf16/chosen", "d128/bf16/narrow", "d128/bf16/wide", "d128/bf16/short"});
    add_variants<64, DType::kBFloat16>(v, {"d64/bf16/chosen", "d64/bf16/narrow", "d64/bf16/wide", "d64/bf16/short"});
    add_variants<96, DType::kBFloat16>(v, {"d96/bf16/chosen", "d96/bf16/narrow", "d96/bf16/wide", "d96/bf16/short"});
    return v;
  }();
  return list;
}
