// The arguments of one call, read from the dispatcher's stack and owned.
#pragma once

#include <cstring>
#include <optional>

#include "torch_abi.h"

namespace attn4j_torch {

// aten::scaled_dot_product_attention(Tensor query, Tensor key, Tensor value, Tensor? attn_mask, float dropout_p,
// bool is_causal, *, float? scale, bool enable_gqa) -> Tensor. The dispatcher fills in the defaults.
constexpr uint64_t kInputs = 8;

struct Call {
  Call(const TorchAbi& torch, const Word* stack)
      : q(torch, tensor(stack[0])),
        k(torch, tensor(stack[1])),
        v(torch, tensor(stack[2])),
        mask(torch, tensor(unbox(torch, stack[3]).value_or(0))),
        dropout(number(stack[4])),
        causal(flag(stack[5])),
        gqa(flag(stack[7])) {
    if (std::optional<Word> boxed = unbox(torch, stack[6])) scale = number(*boxed);
  }

  Owned q;
  Owned k;
  Owned v;
  Owned mask;  // null: none
  double dropout;
  bool causal;
  bool gqa;
  std::optional<double> scale;

 private:
  static Handle tensor(Word word) { return reinterpret_cast<Handle>(word); }
  static bool flag(Word word) { return (word & 0xff) != 0; }
  static double number(Word word) {
    double value;
    std::memcpy(&value, &word, sizeof value);
    return value;
  }
  // An optional is null, or the address of a box that belongs to the kernel.
  static std::optional<Word> unbox(const TorchAbi& torch, Word word) {
    if (word == 0) return std::nullopt;
    Word* box = reinterpret_cast<Word*>(word);
    Word inside = *box;
    if (torch.delete_box != nullptr) {
      torch.delete_box(box);
    } else {
      delete box;
    }
    return inside;
  }
};

}  // namespace attn4j_torch
