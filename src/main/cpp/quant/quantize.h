// The pre-pass: kernels that run before attention, as functions that the host calls. Each enqueues one kernel and
// returns the launch's error.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "attention/masks.h"
#include "attn4j/attn4j.h"
#include "quant/prepared.h"

namespace attn4j {

// Keys that stand for all where a mean is wanted: any shift leaves the softmax unchanged.
constexpr int32_t kMeanKeys = 512;

// A (b, h, s, d) tensor as kernels see it.
struct RowsView {
  const void* data = nullptr;
  Strides stride;
  int32_t batch = 0, heads = 0, rows = 0, head_dim = 0;
  const int32_t* lengths = nullptr;  // [b] or null: rows from lengths[b] on don't exist
  const int32_t* places = nullptr;   // [b][rows] or null: row r stands in place places[b][r] of the tensor
  DType dtype = DType::kFloat16;
  bool vector_io = true;      // 16-byte aligned in base and strides, head_dim a multiple of 8
  bool samples_mean = false;  // the mean is of at most kMeanKeys rows, not of all
};

// Where row r, which exists, stands in the tensor.
ATTN4J_HOST_DEVICE int place_of_row(const RowsView& x, int batch, int row) {
  return x.places == nullptr ? row : x.places[static_cast<int64_t>(batch) * x.rows + row];
}

// list[b][rows]: the keys below lengths[b] that a mask of keys shows, ascending; counts[b]: how many there are. With it
// as `places`, and the counts as lengths, hidden keys are not there: nothing reads them.
//
// Where a causal mask counts keys each must keep its number, up to the last one that is shown. Then list[b][j] is j,
// or, for a hidden key, the complement of the last key before it that is shown, or else of the first one; counts[b] is
// the number behind the last.
struct KeyList {
  MaskTensor mask;  // kSeen; of its strides those of batch and key are read
  const int32_t* lengths = nullptr;
  int32_t batch = 0, rows = 0;
  bool keeps_numbers = false;
  int32_t* list = nullptr;    // written
  int32_t* counts = nullptr;  // written
  uint32_t* hidden =
      nullptr;  // if they keep their numbers: [b][ceil(rows / 32)] bits, written: whether a key is hidden
};
cudaError_t enqueue_key_list(const KeyList& list, cudaStream_t stream);

// The mean of K takes two steps: what each chunk of keys adds to it, then the sum of these. The second step is part of
// whatever kernel needs the mean. Both run in a fixed order: results are bitwise repeatable.
struct MeanChunks {
  static constexpr int kMax = 16;
  int32_t count;  // chunks per head
  int32_t rows;   // keys per chunk
  ATTN4J_HOST_DEVICE explicit MeanChunks(int32_t total_rows, int32_t least_rows = 256) {
    rows = total_rows / kMax + 1 > least_rows ? (total_rows + kMax - 1) / kMax : least_rows;
    count = (total_rows + rows - 1) / rows;
  }
  // Of the keys that k's mean is taken over: few are divided into more chunks, or one CTA would wait for their loads.
  ATTN4J_HOST_DEVICE static MeanChunks of(int32_t rows, bool samples) {
    return samples ? MeanChunks(kMeanKeys < rows ? kMeanKeys : rows, 128) : MeanChunks(rows);
  }
  ATTN4J_HOST_DEVICE explicit MeanChunks(const RowsView& k) : MeanChunks(of(k.rows, k.samples_mean)) {}
};

// sums[b][h][chunk][d] (fp32): what each chunk of the keys that k's mean is taken over adds to it. head_dim <= 128.
cudaError_t enqueue_mean_sums(const RowsView& k, float* sums, cudaStream_t stream);

// mean[b][h][d] from the sums.
cudaError_t enqueue_mean_of_sums(const RowsView& k, const float* sums, float* mean, cudaStream_t stream);

// How INT8 values are laid out.
struct Int8Rows {
  int8_t* values = nullptr;     // [b][h][s][d]
  float* scales = nullptr;      // [b][h][s]
  const float* mean = nullptr;  // [b][h][d] or null
  bool is_key = false;
  QuantGranularity granularity = QuantGranularity::kPerThread;
};
cudaError_t enqueue_int8_rows(const RowsView& x, const Int8Rows& out, cudaStream_t stream);

// K -> the image that mma/int8.cuh reads. `sums` (of enqueue_mean_sums) may be null: no shift. `mean`, if not null,
// is written for the LSE correction. compiled_d is the attention variant's head_dim.
struct Int8Image {
  int8_t* image = nullptr;
  const float* sums = nullptr;
  float* mean = nullptr;
  int32_t rows_padded = 0, compiled_d = 0;
  QuantGranularity granularity = QuantGranularity::kPerThread;
};
cudaError_t enqueue_int8_image(const RowsView& k, const Int8Image& out, cudaStream_t stream);
int64_t int8_image_bytes(int64_t rows_padded, int32_t compiled_d);

// K and Q -> the images of f16_wgmma/int8.cuh, in one launch: values of a head in one run of core matrices, scales
// apart from them (PreparedCall::k_image, k_scale, q_image, q_scale). Of `args`, these four, lk_padded, lq_padded,
// scale_log2 and q_sign are read; an LSE correction is written if args.lse is set and `sums` is not null.
struct Int8Pair {
  const float* sums = nullptr;
  int32_t compiled_d = 0;
  QuantGranularity granularity = QuantGranularity::kPerThread;
};
cudaError_t enqueue_int8_pair(const RowsView& k, const RowsView& q, const PreparedCall& args, const Int8Pair& options,
                              cudaStream_t stream);

// Copies 16-bit tensors of equal batch, heads and rows, whatever their strides. If `from` has places, it is in their
// order, and behind `lengths` there are zeros for as many rows as a tile has. Channels of `to` that `from` doesn't
// have become 0; channels that `to` doesn't have are left out. For kernels that need 16-byte alignment: in before, out
// after.
cudaError_t enqueue_copy_rows(const RowsView& from, const RowsView& to, cudaStream_t stream);

}  // namespace attn4j
