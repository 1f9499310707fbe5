// One attention request with its data in emulated device memory, and what fp64 makes of it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "attn4j/attn4j.h"
#include "attn4j/plan.h"
#include "attn4j/sparse.h"
#include "test/masks.h"

namespace emulation_test {

// Everything that a case can choose. docs/emulation.md has the names as the command line spells them.
struct Case {
  std::string kernel = "exact";
  int64_t b = 1, hq = 2, hkv = 1, lq = 77, lk = 130, d = 64;
  bool bf16 = false, nhd = false, lse = true, smooth_k = true;
  int causal = 0;          // 0 none, 1 top-left, 2 bottom-right
  int length = -1;         // of batch entry i: max(0, length - 13 i); -1: none given
  int granularity = 2;     // QuantGranularity
  int shift = 0;           // elements that rows begin behind an aligned address, and are apart beyond their channels
  float scale = 0;         // sm_scale; 0: the default
  int sparse_share = 100;  // percent of blocks that a given map keeps; cdfthreshd or topk
  int tokens = 0;          // 1: blocks take the tokens in a random order (token_order)
  int dense_head = -1;     // of the library's choice: this head keeps all blocks; -1: none
  int seen = 0;            // 1: a mask of keys; 2: of pairs
  int bias = 0;            // MaskType of a bias; 0: none
  int repeats = 0;         // dimensions that masks of pairs and biases don't have: 1 b, 2 hq, 4 lq, 8 lk, added up
  int turned = 0;          // 1: queries, not keys, are the dimension of those that lies next to each other
  int least = 0;           // a bias hides by the least finite float, not by -infinity
  int shown = 60;          // percent of a mask's elements that show a key
  int garbage = 0;         // 1: NaN in keys and values that the masks hide from all
  int64_t left = -1, right = -1, prefix = 0;  // KeyWindow
  int sms = 0;                                // multiprocessors that the plan is made for; 0: the GPU's
  int data = 1;                               // seed of the data
  // Not 0: data of bench/cpp/hard_data.cuh, by the numbers of Hard and Place.
  int hard = 0, place = 2;
  float share = 0.6f;
  // Value of channel 5 of row `odd_row` of tensor `odd` (1 q, 2 k, 3 v) in the last head: 1 NaN, 2 inf, 3 -inf.
  int odd = 0, odd_row = 0, odd_value = 1;

  std::string text() const;                 // as the command line takes it
  bool set(const std::string& assignment);  // "lq=300"; false: no such name
};

struct Output {
  std::vector<double> o, lse;  // [b][hq][lq][d], [b][hq][lq]
  // By what rounding may move each element of o: the sum of |weight value|, and of |value|; the mean of |value| over
  // all keys of the channel.
  std::vector<double> weighted, plain, channel;
  // What INT8 does to a score in the worst row, standard deviation: a step of Q and of K each, evenly spread.
  double score_noise = 0;
  double hard_model = 0;  // hard_data.h
};

class Problem {
 public:
  explicit Problem(const Case& c);
  ~Problem();
  Problem(const Problem&) = delete;

  attn4j::AttentionParams params;
  attn4j::SparsityParams sparsity;

  // Runs the case's function. Empty: it went well; else what went wrong. "refused: ..." if this build doesn't serve it.
  std::string run(Output* out);
  Output reference() const;
  // What ran: "mma_int8_f16/d64/f16"; and CTAs that had a part of an item (attention/mma/parts.h).
  const std::string& kernel() const { return kernel_; }
  int64_t parts() const { return parts_; }

 private:
  attn4j::TensorView tensor(int64_t heads, int64_t rows);
  void* allocate(int64_t bytes);
  void choose_blocks();
  void spoil_hidden_keys();
  int64_t blocks() const;
  std::string report_fault(const float* report) const;
  void order_tokens();
  bool computes(int64_t head, int64_t row, int64_t key) const;
  int64_t keys_of_row(int64_t batch, int64_t row) const;
  double score_noise(const std::vector<double>& q, const std::vector<double>& k, double scale) const;
  std::vector<double> read(const attn4j::TensorView& t) const;

  Case c_;
  std::string kernel_;
  int64_t parts_ = 0;
  std::vector<void*> memory_;
  std::vector<int32_t> lengths_;
  TestMasks masks_;
  std::vector<uint8_t> mask_;
  std::vector<int32_t> token_place_;  // [b][lq]: of row i of q, k, v and o in the order of blocks; empty: i
  attn4j::BlockGrid grid_;
};

}  // namespace emulation_test
