// attn4j: SageAttention on NVIDIA GPUs. The main public header of the C++ library; sparse.h (SpargeAttn), plan.h (plan
// once, run often) and device.h (memory, streams, graphs) stand beside it. JavaCPP parses all four.
//
// The library knows no framework. A tensor is a non-owning view of device memory; the caller provides the output, the
// scratch memory and the stream. A call validates, enqueues a few kernels (PlanFacts::launches of plan.h says how many)
// and returns: it allocates nothing, waits for nothing, never throws and never ends the
// process. It may be captured into a CUDA graph, may be made from any host thread, and leaves the current device as it
// found it.
//
// Shapes: b batch entries, hq query heads, hkv key/value heads, lq queries and lk keys per head, d channels per head.
// Names follow SageAttention 2.2 (arXiv:2410.02367, arXiv:2411.10958), so that its readers are at home.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__GNUC__)
#define ATTN4J_API __attribute__((visibility("default")))
#else
#define ATTN4J_API
#endif

/// Changes whenever a struct or a signature of this header changes.
#define ATTN4J_ABI_VERSION 4

// CUDA's stream handle, declared here so that the header needs no CUDA toolkit. Null is the legacy default stream.
struct CUstream_st;

namespace attn4j {

// ------------------------------------------------------------------------------------------------------- vocabulary

/// The outcome of a call. Anything but kOk leaves a sentence in last_error().
enum class Status : int32_t {
  kOk = 0,
  kInvalidArgument = 1,    ///< an argument no kernel could accept: wrong shape, null pointer, bad stride
  kUnsupported = 2,        ///< a valid request that this kernel, or this build, doesn't serve: another backend may
  kWorkspaceTooSmall = 3,  ///< the workspace is smaller than the matching *_workspace_size says
  kCudaError = 4,          ///< a CUDA call failed; the sentence names the call and CUDA's own message
};

/// The element type of q, k, v and o. All four agree.
enum class DType : int32_t {
  kFloat16 = 0,   ///< IEEE binary16
  kBFloat16 = 1,  ///< bfloat16
};

/// The order of the four sizes and strides of a TensorView.
enum class TensorLayout : int32_t {
  kHND = 0,  ///< (b, h, s, d): batch, head, sequence, channel
  kNHD = 1,  ///< (b, s, h, d): batch, sequence, head, channel
};

/// Which key is the last one that a query sees when is_causal is set.
enum class CausalAlignment : int32_t {
  kTopLeft = 0,      ///< query i sees keys 0..i: PyTorch's is_causal
  kBottomRight = 1,  ///< query i sees keys 0..i + (lk - lq): decoding with a KV cache
};

/// How many rows of Q and K share one INT8 scale (SageAttention, section 3.2; SageAttention2, section 3.2).
enum class QuantGranularity : int32_t {
  kPerBlock = 0,   ///< 128 queries; 64 keys
  kPerWarp = 1,    ///< 32 queries; 64 keys
  kPerThread = 2,  ///< 1 query; the 8 keys {32g + 8i + 2t + e : i < 4, e < 2} that one thread t of a quad meets
};

/// What the elements of a mask are.
enum class MaskType : int32_t {
  kSeen = 0,      ///< bytes: the query sees the key where it isn't 0
  kFloat16 = 1,   ///< added to the scaled score; -inf hides the key
  kBFloat16 = 2,  ///< likewise
  kFloat32 = 3,   ///< likewise
};

/// The accumulator of P*V.
enum class PvAccumDType : int32_t {
  kDefault = 0,   ///< the most accurate one that the kernel has
  kFp32 = 1,      ///< one fp32 accumulator
  kFp16 = 2,      ///< one fp16 accumulator
  kFp16Fp32 = 3,  ///< an fp16 accumulator per key tile, added up in fp32
  kFp32Fp32 =
      4,  ///< the tensor core's accumulator per key tile, added up in fp32 (SageAttention2, two-level accumulation)
  kFp32Fp16 = 5,  ///< an fp16 accumulator of FP8 products per key tile, added up in fp32 (SageAttention2++)
};

/// The attention functions of this header and of sparse.h, by name.
enum class AttentionFunction : int32_t {
  kSageattn = 0,             ///< sageattn
  kSageattnInt8Fp16 = 1,     ///< sageattn_qk_int8_pv_fp16_cuda
  kSageattnInt8Fp8Sm90 = 2,  ///< sageattn_qk_int8_pv_fp8_cuda_sm90
  kExactAttn = 3,            ///< exact_attn
  kSpasMeansim = 4,          ///< spas_sage2_attn_meansim_cuda
  kSpasMeansimTopk = 5,      ///< spas_sage2_attn_meansim_topk_cuda
  kBlockSparse = 6,          ///< block_sparse_sage2_attn_cuda
  kSageattnInt8Fp8 = 7,      ///< sageattn_qk_int8_pv_fp8_cuda
};

/// Why a request isn't served, in facts; last_error() has the sentence.
enum class RefusalReason : int32_t {
  kNone = 0,         ///< it is served, or it is invalid
  kNotBuilt = 1,     ///< the library has no such kernel for its architecture
  kHeadDim = 2,      ///< found: q's; accepted: the largest that there is
  kAccumulator = 3,  ///< found, accepted: PvAccumDType
  kGranularity = 4,  ///< found, accepted: QuantGranularity
  kOutput = 5,       ///< o can't be written in pieces of 16 bytes
  kKeys = 6,         ///< found: of k; accepted: at most
  kBlocks = 7,       ///< found: of q and k together; accepted: at most
  kLimits = 8,       ///< sequence length, heads or head_dim beyond what any kernel serves
  kMask =
      9,  ///< found: 1 for seen, plus 2 for bias, plus 4 for window; accepted: 1 for masks of keys alone, 0 for none
  kPacked = 10,      ///< found: packed sequences; no kernel of the function takes them
  kTokenOrder = 11,  ///< token_order is given; found: 1 another kernel than FP8 on 9.0, 2 a causal mask, 3 kv_lengths,
                     ///< 4 lq and lk differ, 5 a block mask
};

/// What a product of matrices reads.
enum class Precision : int32_t {
  k16Bit = 0,  ///< the input's own type
  kInt8 = 1,
  kFp8 = 2,  ///< e4m3
};

// --------------------------------------------------------------------------------------------------------- parameters

/// A non-owning view of a 4-D tensor in device memory.
struct TensorView {
  void* data = nullptr;              ///< address of element (0, 0, 0, 0)
  int64_t size[4] = {0, 0, 0, 0};    ///< in the order that TensorLayout gives
  int64_t stride[4] = {0, 0, 0, 0};  ///< in elements, same order; stride[3] must be 1 unless size[3] is 1
  DType dtype = DType::kFloat16;
};

/// Scratch memory of one call, in device memory, aligned to 256 bytes. It may be reused as soon as the stream has
/// passed the call. Its contents before the call don't matter.
struct Workspace {
  void* data = nullptr;
  int64_t size = 0;  ///< bytes
};

/// A non-owning view of a mask over (b, hq, lq, lk) in device memory, whatever the layout of q.
struct MaskView {
  const void* data = nullptr;        ///< address of element (0, 0, 0, 0), aligned to its size; null: no mask
  int64_t stride[4] = {0, 0, 0, 0};  ///< of (b, hq, lq, lk), in elements, not negative; 0: the same for all
  MaskType type = MaskType::kSeen;
};

/// Keys around the query's own position: that of query i is i + lk - lq, so that the last query stands at the last key.
struct KeyWindow {
  int64_t left = -1;   ///< keys before the position that are seen; -1: all
  int64_t right = -1;  ///< keys behind it; -1: all
  int64_t prefix = 0;  ///< keys that are seen besides, from the first one on
};

/// Sequences of different lengths in one run of rows, without padding: q and o are (1, hq, total_q, d), k and v
/// (1, hkv, total_k, d), and sequence i is the rows from cu_seqlens[i] up to, not including, cu_seqlens[i + 1] of each.
/// Its queries see its own keys alone, and a causal mask is aligned within it. The offsets are read on the device: a
/// graph may be launched again with others. They ascend; offsets beyond the rows count as the number of rows. Rows of o
/// and lse that belong to no sequence aren't written.
struct PackedSequences {
  const void* cu_seqlens_q = nullptr;  ///< int32 [count + 1] in device memory; null: the request isn't packed
  const void* cu_seqlens_k = nullptr;  ///< likewise
  int64_t count = 0;
  int64_t max_seqlen_q = 0;  ///< rows of the longest sequence, at most those of q: for the choice of a kernel
  int64_t max_seqlen_k = 0;  ///< likewise of k
};

/// One attention request: o = softmax(sm_scale * q k^T + mask) v, per batch entry and query head. Query head h reads
/// key/value head h / (hq / hkv). A query that sees no key gets a zero row and an LSE of -inf.
struct AttentionParams {
  TensorView q;  ///< (b, hq, lq, d)
  TensorView k;  ///< (b, hkv, lk, d)
  TensorView v;  ///< (b, hkv, lk, d)
  TensorView o;  ///< (b, hq, lq, d), written; must not overlap an input

  void* lse = nullptr;  ///< fp32 [b][hq][lq], contiguous, written if not null: ln(sum of exp(scores)), natural log
  const void* kv_lengths =
      nullptr;  ///< int32 [b] in device memory: keys at and after kv_lengths[b] are ignored; null: all lk

  /// Which keys a query sees, of type kSeen. A causal mask, kv_lengths and bias hold besides. What is hidden has no
  /// part in the result, whatever lies there. Masks are read by kernels of exact_attn alone, but for masks of keys,
  /// which are the same for all heads and queries: they cost kernels nothing, and all functions but SpargeAttn's serve
  /// them; where a causal mask hides more, FP8 on 9.0 alone does. What isn't served is refused with kMask.
  MaskView seen;
  /// What is added to the scaled scores, of a floating-point type.
  MaskView bias;
  /// A rule instead of a mask, or beside one: what it hides is hidden. Served where masks are.
  KeyWindow window;

  TensorLayout tensor_layout = TensorLayout::kHND;  ///< of q, k, v and o
  bool is_causal = false;
  CausalAlignment causal_alignment = CausalAlignment::kTopLeft;

  float sm_scale = 0.f;  ///< multiplies q k^T; read only if has_sm_scale, else 1 / sqrt(d)
  bool has_sm_scale = false;

  /// Read by the quantised kernels alone.
  QuantGranularity qk_quant_gran = QuantGranularity::kPerThread;
  PvAccumDType pv_accum_dtype = PvAccumDType::kDefault;
  /// Subtract a per-head mean of K, of at most 512 keys spread over the sequence, before INT8 (SageAttention, section
  /// 3.1).
  bool smooth_k = true;

  /// If there are any, kv_lengths and masks must not be given. lse is fp32 [hq][total_q]. Served by exact_attn alone;
  /// others refuse with kPacked.
  PackedSequences packed;
};

// ---------------------------------------------------------------------------------------------------------- attention
//
// Each function returns kOk once its kernels are enqueued on `stream`. Each *_workspace_size returns the bytes that the
// call needs (0 is possible), or -status with the reason in last_error(): a size >= 0 is the promise that this build
// has a kernel for the request. It reads shapes, strides, pointer alignment and options, never device memory, and needs
// no GPU. Kernels on mma.sync divide their last round by the number of multiprocessors of the current device (132
// without one), so ask for the size while the device is current that the call will run on.

/// SageAttention with the kernel that suits this architecture and shape best. d <= 128. On Hopper, the exact kernel
/// serves problems that are too small for quantisation to pay (docs/choice.md), unless qk_quant_gran or pv_accum_dtype
/// ask for something particular; sageattn_kernel tells.
ATTN4J_API Status sageattn(const AttentionParams& params, const Workspace& workspace, CUstream_st* stream) noexcept;
ATTN4J_API int64_t sageattn_workspace_size(const AttentionParams& params) noexcept;

/// INT8 Q*K^T, 16-bit P*V. With fp32 accumulation (kFp32, the default) P and V have the input's own 16-bit type: bf16
/// values that fp16 can't hold stay finite. d <= 128; every architecture. With kFp16Fp32 P and V are fp16, bf16 values
/// times a power of two per channel, and no sum overflows whatever V is: faster on 8.6, 8.9 and 12.x. Not on 9.0.
ATTN4J_API Status sageattn_qk_int8_pv_fp16_cuda(const AttentionParams& params, const Workspace& workspace,
                                                CUstream_st* stream) noexcept;
ATTN4J_API int64_t sageattn_qk_int8_pv_fp16_cuda_workspace_size(const AttentionParams& params) noexcept;

/// INT8 Q*K^T, FP8 (e4m3) P*V on mma.sync: kFp32Fp32 (the default) or, faster, kFp32Fp16. d <= 128; 8.9 and 12.x alone.
ATTN4J_API Status sageattn_qk_int8_pv_fp8_cuda(const AttentionParams& params, const Workspace& workspace,
                                               CUstream_st* stream) noexcept;
ATTN4J_API int64_t sageattn_qk_int8_pv_fp8_cuda_workspace_size(const AttentionParams& params) noexcept;

/// INT8 Q*K^T, FP8 (e4m3) P*V on Hopper's warpgroup instructions. d <= 128; sm90 builds alone.
ATTN4J_API Status sageattn_qk_int8_pv_fp8_cuda_sm90(const AttentionParams& params, const Workspace& workspace,
                                                    CUstream_st* stream) noexcept;
ATTN4J_API int64_t sageattn_qk_int8_pv_fp8_cuda_sm90_workspace_size(const AttentionParams& params) noexcept;

/// Exact attention in the input's 16-bit type with fp32 softmax and accumulation (FlashAttention-2, arXiv:2307.08691).
/// d <= 256; every architecture. The quantisation options are not read.
ATTN4J_API Status exact_attn(const AttentionParams& params, const Workspace& workspace, CUstream_st* stream) noexcept;
ATTN4J_API int64_t exact_attn_workspace_size(const AttentionParams& params) noexcept;

/// The kernel variant that sageattn would run for this request, such as "mma_int8_fp16/d128/bf16", or null with the
/// reason in last_error(). The string is static.
ATTN4J_API const char* sageattn_kernel(const AttentionParams& params) noexcept;

// ------------------------------------------------------------------------------------------------ quantisation pieces
//
// The steps of sageattn for those who build pipelines of their own. Outputs are contiguous and in natural order.

/// mean[b][h][d] (fp32) = mean of k over the sequence (K smoothing: SageAttention, section 3.1). k is (b, hkv, lk, d).
struct KMeanParams {
  TensorView k;
  TensorLayout tensor_layout = TensorLayout::kHND;
  void* mean = nullptr;  ///< fp32 [b][hkv][d], written
};
ATTN4J_API Status k_mean(const KMeanParams& params, const Workspace& workspace, CUstream_st* stream) noexcept;
ATTN4J_API int64_t k_mean_workspace_size(const KMeanParams& params) noexcept;

/// Symmetric INT8: scale = max(|x - mean|) / 127 over the rows that share it (at least 1e-12 / 127), value =
/// round-to-nearest-even((x - mean) / scale) computed as (x - mean) * (127 / max) in fp32, clamped to [-127, 127].
struct QuantInt8Params {
  TensorView x;  ///< (b, h, s, d), Q or K
  TensorLayout tensor_layout = TensorLayout::kHND;
  QuantGranularity granularity = QuantGranularity::kPerThread;
  bool is_key = false;         ///< which of the two row groupings of QuantGranularity applies
  const void* mean = nullptr;  ///< fp32 [b][h][d] subtracted first, or null
  void* values = nullptr;      ///< int8 [b][h][s][d], written
  void* scales = nullptr;      ///< fp32 [b][h][s], written: the scale of each row, repeated over the rows that share it
};
ATTN4J_API Status quant_int8(const QuantInt8Params& params, CUstream_st* stream) noexcept;

// --------------------------------------------------------------------------------------------------- partial results

/// One step of putting together attention over keys that come in parts: ring attention (arXiv:2310.01889), where each
/// step is FlashAttention-2's rescaling (arXiv:2307.08691, section 3.1) between two calls. With the accumulated output
/// a of log-sum-exp m, and a part p of log-sum-exp n (natural log, as AttentionParams::lse has it):
///   a = (e^m a + e^n p) / (e^m + e^n),   m = ln(e^m + e^n)
/// in fp32, in a form that can't overflow. A part whose n is -inf saw no key: it adds nothing, whatever its values are.
/// A row of NaN log-sum-exp becomes NaN. The first part is written (is_first), later ones are added in place, and the
/// last (o is given) is added on the way to the 16-bit output, while the accumulator stays as it is.
struct MergeAttnStateParams {
  TensorView part;                                  ///< (b, h, l, d), d <= 256: the o of a call
  const void* part_lse = nullptr;                   ///< fp32 [b][h][l], contiguous: its lse
  TensorLayout tensor_layout = TensorLayout::kHND;  ///< of part, acc and o
  bool is_first = false;                            ///< acc and acc_lse aren't read

  void* acc = nullptr;                   ///< fp32 (b, h, l, d) of part's sizes; null if part is the first and the last
  int64_t acc_stride[4] = {0, 0, 0, 0};  ///< in elements, in the order of tensor_layout; the last must be 1
  void* acc_lse = nullptr;               ///< fp32 (b, h, l); rows are contiguous
  int64_t acc_lse_stride[2] = {0, 0};    ///< of (b, h), in elements

  TensorView o;         ///< (b, h, l, d) of part's type; data null: this isn't the last part. Must not overlap the rest
  void* lse = nullptr;  ///< fp32 [b][h][l], contiguous, written with o if not null
};

/// Enqueues one kernel, on every architecture, and needs no workspace. It moves each element once: 10 bytes of an
/// element that is added, 6 of the first, 8 of the last.
ATTN4J_API Status merge_attn_state(const MergeAttnStateParams& params, CUstream_st* stream) noexcept;

// -------------------------------------------------------------------------------------------------------- about itself

/// The reason for the last status other than kOk on this host thread: one sentence that names the argument, what was
/// found and what is accepted. Valid until the next call on this thread.
ATTN4J_API const char* last_error() noexcept;

/// The architectures inside this library, such as "90a" or "80 80+PTX".
ATTN4J_API const char* arch_list() noexcept;

/// ATTN4J_ABI_VERSION of the library that was loaded.
ATTN4J_API int32_t abi_version() noexcept;

/// One line per kernel variant inside this library, separated by '\n'.
ATTN4J_API const char* kernel_list() noexcept;

}  // namespace attn4j
