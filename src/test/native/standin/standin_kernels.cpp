// Kernels of the stand-in library: the recipes of Hopper's, or of those on mma.sync for another ATTN4J_SM, and launches
// that count.
#include <cuda_runtime_api.h>

#include "attention/split/recipe.h"
#include "host/head_dim.h"
#include "host/machine.h"
#include "host/preparation.h"
#include "host/recipe.h"
#include "quant/fp8_prepass.h"
#include "quant/merge.h"
#include "quant/quantize.h"
#include "quant/values.h"
#include "sparse/predict.h"
#include "standin.h"

namespace attn4j {
namespace {

cudaError_t count(int32_t launches = 1) {
  for (int32_t i = 0; i < launches; i++) standin::launch();
  return cudaSuccess;
}

cudaError_t launch(const AttentionArgs& a, cudaStream_t) {
  const bool divides = a.parts.divided((a.lq + 127) / 128 * a.batch * a.heads_q) > 0;
  return count(divides ? 2 : 1);
}

template <int D>
KernelEntry exact_mma(const char* name) {
  KernelEntry e = make_entry<D, DType::kFloat16>(name, 128, 64, launch);
  e.divides_items = ATTN4J_SM != 90;
  e.preparation = &kAlignedInputs;
  e.serves_sageattn = D <= 128;
  e.takes_packed = true;
  e.cost = exact_mma_cost<D>();
  e.streams = 2;
  return e;
}

template <int D>
KernelEntry masked_exact_mma(const char* name) {
  KernelEntry e = make_entry<D, DType::kFloat16>(name, 128, 64, launch);
  e.preparation = &kAlignedInputs;
  e.reads_masks = true;
  return e;
}

template <int D>
KernelEntry exact_wgmma(const char* name) {
  KernelEntry e = exact_mma<D>(name);
  e.takes_packed = false;
  e.writes_vectors = e.serves_sageattn = true;
  e.cost = exact_wgmma_cost<D>();
  e.streams = 1;
  e.sparse_from = kNeverSparse;
  return e;
}

template <int D>
KernelEntry exact_split(const char* name) {
  return SplitRecipe<D>::template entry<DType::kFloat16>(name, [](const AttentionArgs& a, cudaStream_t) {
    return count(SplitRecipe<D>::plan_for(a, current_machine()).splits > 1 ? 2 : 1);
  });
}

template <int D>
KernelEntry int8_f16(const char* name, const Preparation& preparation) {
  KernelEntry e = make_entry<D, DType::kFloat16>(name, 128, 128, launch);
  e.divides_items = ATTN4J_SM != 90;
  e.qk = Precision::kInt8;
  e.function = Function::kInt8F16;
  e.accumulator = PvAccumDType::kFp32;
  e.serves_sageattn = true;
  e.preparation = &preparation;
  e.cost = int8_mma_cost<D>();
  e.streams = 2;
  return e;
}

template <int D>
KernelEntry int8_fp8(const char* name) {
  KernelEntry e = int8_f16<D>(name, kFp8Images);
  e.pv = Precision::kFp8;
  e.function = Function::kInt8Fp8Sm90;
  e.accumulator = PvAccumDType::kFp32Fp32;
  e.per_thread_only = true;
  e.hides_keys = true;
  e.cost = int8_fp8_wgmma_cost<D>();
  e.streams = 1;
  e.sparse_from = 8192;
  return e;
}

// Those on mma.sync with another accumulator, or FP8.
template <int D>
KernelEntry int8_values(const char* name, PvAccumDType accumulator, double gain) {
  const bool fp8 = accumulator != PvAccumDType::kFp16Fp32;
  KernelEntry e = int8_f16<D>(name, fp8 ? kInt8Fp8Values : kInt8Image);
  e.key_tile = 64;
  if (fp8) e.pv = Precision::kFp8, e.function = Function::kInt8Fp8;
  e.accumulator = accumulator;
  e.serves_default = accumulator == PvAccumDType::kFp32Fp32;
  e.cost = int8_values_mma_cost<D>(gain, fp8);
  return e;
}

template <int D>
KernelEntry sparse(const char* name, bool fp8) {
  KernelEntry e = fp8 ? int8_fp8<D>(name) : int8_f16<D>(name, kInt8Image);
  e.key_tile = 64;
  e.function = Function::kSparse;
  e.serves_sageattn = e.hides_keys = false;
  e.lists = fp8 ? fp8_wgmma_list_cost<D>() : int8_mma_list_cost<D>();
  return e;
}

}  // namespace

const KernelEntry* kernel_table(int32_t* entries) {
  static const KernelEntry kTable[] = {
#if ATTN4J_SM != 90
    int8_f16<64>("mma_int8_f16/d64/f16", kInt8Image),
    int8_f16<128>("mma_int8_f16/d128/f16", kInt8Image),
    exact_mma<64>("exact_mma/d64/f16"),
    exact_mma<128>("exact_mma/d128/f16"),
    int8_values<64>("mma_int8_acc16/d64/f16", PvAccumDType::kFp16Fp32, kAcc16MmaGain),
    int8_values<128>("mma_int8_acc16/d128/f16", PvAccumDType::kFp16Fp32, kAcc16MmaGain),
#if ATTN4J_SM >= 89
    int8_values<64>("mma_int8_fp8/d64/f16", PvAccumDType::kFp32Fp32, kFp8MmaGain),
    int8_values<128>("mma_int8_fp8/d128/f16", PvAccumDType::kFp32Fp32, kFp8MmaGain),
    int8_values<64>("mma_int8_fp8_acc16/d64/f16", PvAccumDType::kFp32Fp16, kFp8Acc16MmaGain),
    int8_values<128>("mma_int8_fp8_acc16/d128/f16", PvAccumDType::kFp32Fp16, kFp8Acc16MmaGain),
#endif
#else
    int8_f16<64>("mma_int8_f16/d64/f16", kInt8Image),
    int8_f16<128>("mma_int8_f16/d128/f16", kInt8Image),
    exact_mma<64>("exact_mma/d64/f16"),
    exact_mma<128>("exact_mma/d128/f16"),
    exact_mma<256>("exact_mma/d256/f16"),
    masked_exact_mma<64>("masked_exact_mma/d64/f16"),
    masked_exact_mma<128>("masked_exact_mma/d128/f16"),
    exact_split<64>("exact_split/d64/f16"),
    exact_split<128>("exact_split/d128/f16"),
    exact_split<256>("exact_split/d256/f16"),
    exact_wgmma<64>("exact_wgmma/d64/f16"),
    exact_wgmma<128>("exact_wgmma/d128/f16"),
    sparse<64>("sparse_mma_int8_f16/d64/f16", false),
    sparse<128>("sparse_mma_int8_f16/d128/f16", false),
    int8_fp8<64>("wgmma_int8_fp8/d64/f16"),
    int8_fp8<128>("wgmma_int8_fp8/d128/f16"),
    sparse<64>("sparse_wgmma_int8_fp8/d64/f16", true),
    sparse<128>("sparse_wgmma_int8_fp8/d128/f16", true),
#endif
  };
  *entries = static_cast<int32_t>(sizeof kTable / sizeof kTable[0]);
  return kTable;
}

cudaError_t enqueue_mean_sums(const RowsView&, float*, cudaStream_t) { return count(); }
cudaError_t enqueue_mean_of_sums(const RowsView&, const float*, float*, cudaStream_t) { return count(); }
cudaError_t enqueue_int8_rows(const RowsView&, const Int8Rows&, cudaStream_t) { return count(); }
cudaError_t enqueue_int8_image(const RowsView&, const Int8Image&, cudaStream_t) { return count(); }
int64_t int8_image_bytes(int64_t rows_padded, int32_t compiled_d) { return rows_padded * compiled_d; }
cudaError_t enqueue_int8_pair(const RowsView&, const RowsView&, const PreparedCall&, const Int8Pair&, cudaStream_t) {
  return count();
}
int64_t value_statistics_size(int32_t compiled_d) { return 33 * compiled_d; }
int64_t value_image_bytes(int64_t rows_padded, int32_t compiled_d, bool) { return rows_padded * compiled_d; }
float value_error_unit(int32_t, float) { return 1.f; }
cudaError_t enqueue_value_statistics(const RowsView&, const ValueImage&, cudaStream_t) { return count(); }
cudaError_t enqueue_value_image(const RowsView&, const ValueImage&, cudaStream_t) { return count(); }
cudaError_t enqueue_key_list(const KeyList&, cudaStream_t) { return count(); }
cudaError_t enqueue_copy_rows(const RowsView&, const RowsView&, cudaStream_t) { return count(); }
cudaError_t enqueue_merge(const MergeTask&, cudaStream_t) { return count(); }
cudaError_t enqueue_pool(const PoolTask&, const PoolTask&, cudaStream_t) { return count(); }
cudaError_t enqueue_select(const SelectArgs& args, cudaStream_t) {
  standin::select(args.report, args.dense_heads);
  return count(args.finished_is_zero ? 1 : 2);
}
int32_t most_key_blocks() { return 20000; }

Fp8Workspace fp8_workspace(const KernelEntry& kernel, const AttentionArgs& a) noexcept {
  const int64_t keys = int64_t{a.batch} * a.heads_kv * a.lk_padded * kernel.head_dim;
  const int64_t queries = int64_t{a.batch} * a.heads_q * a.lq_padded * kernel.head_dim;
  return {keys, keys / 16, 256, keys, 256, queries, queries / 16, 256, 256, 256, 256, 256};
}
int32_t fp8_images_per_head(const KernelEntry&, const AttentionArgs&) noexcept { return 1; }
float fp8_error_unit(int32_t) noexcept { return 1.f; }
void fp8_divide_for(const KernelEntry&, int32_t, AttentionArgs*) noexcept {}
cudaError_t fp8_divide(const KernelEntry&, AttentionArgs*) noexcept { return cudaSuccess; }
cudaError_t enqueue_sm90_prepass(const KernelEntry&, const AttentionArgs&, float*, const Fp8Extras&,
                                 cudaStream_t) noexcept {
  return count(2);
}

}  // namespace attn4j
