// merge_attn_state of attn4j.h.
#include "attn4j/attn4j.h"
#include "host/status.h"
#include "host/validate.h"
#include "quant/merge.h"

namespace attn4j {
namespace {

constexpr int64_t kMaxHeadDim = 256, kMaxGroups = INT32_MAX;

// A tensor's place of 4 channels is one access: `size` bytes for each channel.
bool is_whole(const void* data, const Strides& s, int64_t size) {
  return reinterpret_cast<uintptr_t>(data) % (4 * size) == 0 && s.batch % 4 == 0 && s.head % 4 == 0 && s.row % 4 == 0;
}

// What is written must not be the same for two elements.
Status validate_written(const int64_t (&size)[4], const int64_t (&stride)[4], const char* name) {
  for (int i = 0; i < 4; i++) {
    if (stride[i] < 0 || (size[i] > 1 && stride[i] == 0)) {
      return fail(Status::kInvalidArgument, "%s: stride[%d] is %lld; strides of what is written must be positive", name,
                  i, static_cast<long long>(stride[i]));
    }
  }
  if (size[3] > 1 && stride[3] != 1) {
    return fail(Status::kInvalidArgument, "%s: stride[3] is %lld; channels must be contiguous (stride 1)", name,
                static_cast<long long>(stride[3]));
  }
  return Status::kOk;
}

Status validate_part(const MergeAttnStateParams& p, const Shape& s) {
  if (s.head_dim < 1 || s.head_dim > kMaxHeadDim) {
    return fail(Status::kUnsupported, "part: head_dim is %lld; accepted are 1 to %lld",
                static_cast<long long>(s.head_dim), static_cast<long long>(kMaxHeadDim));
  }
  const int64_t groups = s.rows / kMergeRows + 1;
  if (s.rows > INT32_MAX - kMergeRows || (s.batch > 0 && s.heads > kMaxGroups / s.batch / groups)) {
    return fail(Status::kUnsupported,
                "part: has %lld * %lld heads of %lld rows; at most 2^31 - 1 groups of %d rows are supported",
                static_cast<long long>(s.batch), static_cast<long long>(s.heads), static_cast<long long>(s.rows),
                kMergeRows);
  }
  if (p.part_lse == nullptr) return fail(Status::kInvalidArgument, "part_lse: is null; it must be fp32 [b][h][l]");
  return Status::kOk;
}

Status validate_accumulator(const MergeAttnStateParams& p) {
  if (p.acc == nullptr && p.acc_lse == nullptr && p.is_first && p.o.data != nullptr) return Status::kOk;
  if (p.acc == nullptr) {
    return fail(Status::kInvalidArgument, "acc: is null; it must be fp32 (b, h, l, d) unless part is first and last");
  }
  if (p.acc_lse == nullptr) {
    return fail(Status::kInvalidArgument, "acc_lse: is null; it must be fp32 (b, h, l) unless part is first and last");
  }
  if (reinterpret_cast<uintptr_t>(p.acc) % 4 != 0) {
    return fail(Status::kInvalidArgument, "acc: is %p; fp32 needs an address aligned to 4 bytes", p.acc);
  }
  ATTN4J_RETURN_IF_ERROR(validate_written(p.part.size, p.acc_stride, "acc"));
  const Shape s = shape_of(p.part, p.tensor_layout);
  const int64_t sizes[2] = {s.batch, s.heads};
  for (int i = 0; i < 2; i++) {
    if (p.acc_lse_stride[i] < 0 || (sizes[i] > 1 && p.acc_lse_stride[i] < s.rows)) {
      return fail(Status::kInvalidArgument, "acc_lse: stride[%d] is %lld; at least the %lld rows are accepted", i,
                  static_cast<long long>(p.acc_lse_stride[i]), static_cast<long long>(s.rows));
    }
  }
  return Status::kOk;
}

Status validate_last(const MergeAttnStateParams& p) {
  if (p.o.data == nullptr) return Status::kOk;
  ATTN4J_RETURN_IF_ERROR(validate_tensor(p.o, p.tensor_layout, "o"));
  if (p.o.dtype != p.part.dtype) {
    return fail(Status::kInvalidArgument, "o: dtype is %d but part has %d; they must be equal",
                static_cast<int>(p.o.dtype), static_cast<int>(p.part.dtype));
  }
  for (int i = 0; i < 4; i++) {
    if (p.o.size[i] != p.part.size[i]) {
      return fail(Status::kInvalidArgument, "o: size[%d] is %lld but part has %lld; they must be equal", i,
                  static_cast<long long>(p.o.size[i]), static_cast<long long>(p.part.size[i]));
    }
  }
  if (p.o.data == p.part.data || p.o.data == p.acc) {
    return fail(Status::kInvalidArgument, "o: shares its address with an input; the output must not overlap an input");
  }
  return validate_written(p.o.size, p.o.stride, "o");
}

MergeTask task_of(const MergeAttnStateParams& p, const Shape& s) {
  MergeTask t;
  t.part = p.part.data, t.part_lse = static_cast<const float*>(p.part_lse);
  t.sum = static_cast<float*>(p.acc), t.sum_lse = static_cast<float*>(p.acc_lse);
  t.o = p.o.data, t.lse = static_cast<float*>(p.lse);
  const bool hnd = p.tensor_layout == TensorLayout::kHND;
  t.part_stride = strides_of(p.part, p.tensor_layout);
  t.sum_stride = {p.acc_stride[0], p.acc_stride[hnd ? 1 : 2], p.acc_stride[hnd ? 2 : 1]};
  t.o_stride = strides_of(p.o, p.tensor_layout);
  t.sum_lse_batch = p.acc_lse_stride[0], t.sum_lse_head = p.acc_lse_stride[1];
  t.batch = static_cast<int32_t>(s.batch), t.heads = static_cast<int32_t>(s.heads);
  t.rows = static_cast<int32_t>(s.rows), t.head_dim = static_cast<int32_t>(s.head_dim);
  t.dtype = p.part.dtype, t.is_first = p.is_first;
  t.vector_io = s.head_dim % 4 == 0 && is_whole(t.part, t.part_stride, 2) &&
                (t.sum == nullptr || is_whole(t.sum, t.sum_stride, 4)) &&
                (t.o == nullptr || is_whole(t.o, t.o_stride, 2));
  return t;
}

}  // namespace

Status merge_attn_state(const MergeAttnStateParams& params, CUstream_st* stream) noexcept {
  ATTN4J_RETURN_IF_ERROR(validate_tensor(params.part, params.tensor_layout, "part"));
  const Shape s = shape_of(params.part, params.tensor_layout);
  if (s.batch == 0 || s.heads == 0 || s.rows == 0) return Status::kOk;
  ATTN4J_RETURN_IF_ERROR(validate_part(params, s));
  ATTN4J_RETURN_IF_ERROR(validate_accumulator(params));
  ATTN4J_RETURN_IF_ERROR(validate_last(params));
  int device = 0;
  const NamedAddress addresses[] = {{"part", params.part.data},  {"part_lse", params.part_lse}, {"acc", params.acc},
                                    {"acc_lse", params.acc_lse}, {"o", params.o.data},          {"lse", params.lse}};
  ATTN4J_RETURN_IF_ERROR(validate_device(addresses, 6, &device));
  const DeviceScope scope(device);
  ATTN4J_RETURN_IF_ERROR(check_cuda(scope.error(), "cudaSetDevice"));
  return check_cuda(enqueue_merge(task_of(params, s), stream), "merge_attn_state");
}

}  // namespace attn4j
