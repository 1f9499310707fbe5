#include "host/validate.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "host/status.h"

namespace attn4j {
namespace {

constexpr int64_t kMaxRows = int64_t{1} << 29;  // kNotCausal plus a row index stays inside int32
constexpr int64_t kMaxHeads = INT32_MAX;        // batch * heads: the first dimension of a CUDA grid
constexpr int64_t kLeastQueryTile = 64;         // blocks of queries are counted in 32 bits
constexpr int64_t kMaxHeadDim = 256;

bool valid_layout(TensorLayout layout) { return layout == TensorLayout::kHND || layout == TensorLayout::kNHD; }

Status require_equal(const char* what, const char* name, int64_t found, const char* other, int64_t expected) {
  if (found == expected) return Status::kOk;
  return fail(Status::kInvalidArgument, "%s: %s is %lld but %s has %lld; they must be equal", name, what,
              static_cast<long long>(found), other, static_cast<long long>(expected));
}

Status validate_options(const AttentionParams& p) {
  const int causal = static_cast<int>(p.causal_alignment), granularity = static_cast<int>(p.qk_quant_gran);
  const int accum = static_cast<int>(p.pv_accum_dtype);
  if (causal < 0 || causal > 1) {
    return fail(Status::kInvalidArgument, "causal_alignment: found %d; accepted are 0 (top-left) and 1 (bottom-right)",
                causal);
  }
  if (granularity < 0 || granularity > 2) {
    return fail(Status::kInvalidArgument,
                "qk_quant_gran: found %d; accepted are 0 (per block), 1 (per warp) and 2 (per thread)", granularity);
  }
  if (accum < 0 || accum > 5) {
    return fail(Status::kInvalidArgument, "pv_accum_dtype: found %d; accepted are 0 to 5", accum);
  }
  if (p.has_sm_scale && !std::isfinite(p.sm_scale)) {
    return fail(Status::kInvalidArgument, "sm_scale: found %g; it must be finite", static_cast<double>(p.sm_scale));
  }
  return Status::kOk;
}

// `least` and `most` are the types that fit.
Status validate_mask(const MaskView& m, const char* name, MaskType least, MaskType most, MaskTensor* mask) {
  if (m.data == nullptr) return Status::kOk;
  if (m.type < least || m.type > most) {
    return fail(Status::kInvalidArgument, "%s: type is %d; accepted are %d to %d (MaskType)", name,
                static_cast<int>(m.type), static_cast<int>(least), static_cast<int>(most));
  }
  for (int i = 0; i < 4; i++) {
    if (m.stride[i] < 0) {
      return fail(Status::kInvalidArgument, "%s: stride[%d] is %lld; strides must not be negative", name, i,
                  static_cast<long long>(m.stride[i]));
    }
  }
  const int size = m.type == MaskType::kSeen ? 1 : m.type == MaskType::kFloat32 ? 4 : 2;
  if (reinterpret_cast<uintptr_t>(m.data) % size != 0) {
    return fail(Status::kInvalidArgument, "%s: data is %p; its elements need an address aligned to %d bytes", name,
                m.data, size);
  }
  *mask = {m.data, m.stride[0], m.stride[1], m.stride[2], m.stride[3], m.type};
  return Status::kOk;
}

Status validate_window(const KeyWindow& w, const Shape& q, const Shape& k, WindowBounds* bounds) {
  const struct {
    const char* name;
    int64_t value, least;
  } fields[] = {{"left", w.left, -1}, {"right", w.right, -1}, {"prefix", w.prefix, 0}};
  for (const auto& f : fields) {
    if (f.value < f.least) {
      return fail(Status::kInvalidArgument, "window: %s is %lld; %lld or more is accepted", f.name,
                  static_cast<long long>(f.value), static_cast<long long>(f.least));
    }
  }
  // Rows and keys are below 2^29, so that no sum here leaves 32 bits.
  const int64_t offset = k.rows - q.rows, far = WindowBounds::kFar / 2;
  if (w.left >= 0) bounds->first = static_cast<int32_t>(offset - std::min(w.left, far));
  if (w.right >= 0) bounds->end = static_cast<int32_t>(offset + std::min(w.right, far) + 1);
  bounds->prefix = static_cast<int32_t>(std::min(w.prefix, k.rows));
  return Status::kOk;
}

Status validate_packed(const AttentionParams& p, const Shape& q, const Shape& k, PackedArgs* args) {
  const PackedSequences& s = p.packed;
  const bool is_packed = s.cu_seqlens_q != nullptr;
  if (is_packed != (s.cu_seqlens_k != nullptr)) {
    return fail(Status::kInvalidArgument, "%s: is null; packed sequences need both arrays of offsets",
                is_packed ? "cu_seqlens_k" : "cu_seqlens_q");
  }
  if (!is_packed) return Status::kOk;
  const struct {
    const char* name;
    int64_t value, most;
  } numbers[] = {
      {"count", s.count, kMaxRows}, {"max_seqlen_q", s.max_seqlen_q, q.rows}, {"max_seqlen_k", s.max_seqlen_k, k.rows}};
  for (const auto& n : numbers) {
    if (n.value < 0 || n.value > n.most) {
      return fail(Status::kInvalidArgument, "packed: %s is %lld; 0 to %lld are accepted", n.name,
                  static_cast<long long>(n.value), static_cast<long long>(n.most));
    }
  }
  if (q.batch != 1) {
    return fail(Status::kInvalidArgument, "q: batch is %lld; packed sequences are rows of one batch entry",
                static_cast<long long>(q.batch));
  }
  const KeyWindow& w = p.window;
  if (p.kv_lengths != nullptr || p.seen.data != nullptr || p.bias.data != nullptr || w.left >= 0 || w.right >= 0) {
    return fail(Status::kInvalidArgument,
                "%s: is given beside packed sequences, which take neither lengths nor masks but a causal one",
                p.kv_lengths != nullptr ? "kv_lengths" : "a mask");
  }
  for (const void* address : {s.cu_seqlens_q, s.cu_seqlens_k}) {
    if (reinterpret_cast<uintptr_t>(address) % 4 != 0) {
      return fail(Status::kInvalidArgument, "packed: offsets are at %p; int32 needs an address aligned to 4 bytes",
                  address);
    }
  }
  if (q.heads > 0 && q.rows / kLeastQueryTile + s.count > kMaxHeads / q.heads) {
    return fail(Status::kUnsupported, "packed: %lld sequences of %lld heads are more tiles than a grid has",
                static_cast<long long>(s.count), static_cast<long long>(q.heads));
  }
  args->q = static_cast<const int32_t*>(s.cu_seqlens_q), args->k = static_cast<const int32_t*>(s.cu_seqlens_k);
  args->count = static_cast<int32_t>(s.count);
  args->bottom_right = p.causal_alignment == CausalAlignment::kBottomRight;
  return Status::kOk;
}

Status validate_shapes(const Shape& q, const Shape& k, const Shape& v, const Shape& o) {
  ATTN4J_RETURN_IF_ERROR(require_equal("batch", "k", k.batch, "q", q.batch));
  ATTN4J_RETURN_IF_ERROR(require_equal("head_dim", "k", k.head_dim, "q", q.head_dim));
  ATTN4J_RETURN_IF_ERROR(require_equal("batch", "v", v.batch, "k", k.batch));
  ATTN4J_RETURN_IF_ERROR(require_equal("number of heads", "v", v.heads, "k", k.heads));
  ATTN4J_RETURN_IF_ERROR(require_equal("sequence length", "v", v.rows, "k", k.rows));
  ATTN4J_RETURN_IF_ERROR(require_equal("head_dim", "v", v.head_dim, "k", k.head_dim));
  ATTN4J_RETURN_IF_ERROR(require_equal("batch", "o", o.batch, "q", q.batch));
  ATTN4J_RETURN_IF_ERROR(require_equal("number of heads", "o", o.heads, "q", q.heads));
  ATTN4J_RETURN_IF_ERROR(require_equal("sequence length", "o", o.rows, "q", q.rows));
  ATTN4J_RETURN_IF_ERROR(require_equal("head_dim", "o", o.head_dim, "q", q.head_dim));
  if (k.heads == 0 ? q.heads != 0 : q.heads % k.heads != 0) {
    return fail(Status::kInvalidArgument, "q: has %lld heads, which is no multiple of the %lld heads of k",
                static_cast<long long>(q.heads), static_cast<long long>(k.heads));
  }
  if (q.head_dim < 1) {
    return fail(Status::kInvalidArgument, "q: head_dim is %lld; it must be at least 1",
                static_cast<long long>(q.head_dim));
  }
  if (q.head_dim > kMaxHeadDim) {
    return fail(Status::kUnsupported, "q: head_dim is %lld; kernels exist up to %lld",
                static_cast<long long>(q.head_dim), static_cast<long long>(kMaxHeadDim));
  }
  if (q.rows > kMaxRows || k.rows > kMaxRows) {
    return fail(Status::kUnsupported, "%s: sequence length is %lld; at most %lld is supported",
                q.rows > kMaxRows ? "q" : "k", static_cast<long long>(q.rows > kMaxRows ? q.rows : k.rows),
                static_cast<long long>(kMaxRows));
  }
  if (q.batch > 0 && q.heads > kMaxHeads / q.batch) {
    return fail(Status::kUnsupported, "q: batch * heads is %lld; at most %lld is supported",
                static_cast<long long>(q.batch * q.heads), static_cast<long long>(kMaxHeads));
  }
  const int64_t blocks = (q.rows + kLeastQueryTile - 1) / kLeastQueryTile;
  if (q.batch > 0 && blocks > 0 && q.heads > kMaxHeads / q.batch / blocks) {
    return fail(Status::kUnsupported,
                "q: has %lld heads in all, of %lld blocks of %lld queries; at most %lld blocks "
                "are supported",
                static_cast<long long>(q.batch * q.heads), static_cast<long long>(blocks),
                static_cast<long long>(kLeastQueryTile), static_cast<long long>(kMaxHeads));
  }
  return Status::kOk;
}

}  // namespace

Shape shape_of(const TensorView& t, TensorLayout layout) {
  const bool hnd = layout == TensorLayout::kHND;
  return {t.size[0], t.size[hnd ? 1 : 2], t.size[hnd ? 2 : 1], t.size[3]};
}

Strides strides_of(const TensorView& t, TensorLayout layout) {
  const bool hnd = layout == TensorLayout::kHND;
  return {t.stride[0], t.stride[hnd ? 1 : 2], t.stride[hnd ? 2 : 1]};
}

RowsView rows_view(const TensorView& t, TensorLayout layout) {
  const Shape s = shape_of(t, layout);
  RowsView view;
  view.data = t.data;
  view.stride = strides_of(t, layout);
  view.batch = static_cast<int32_t>(s.batch);
  view.heads = static_cast<int32_t>(s.heads);
  view.rows = static_cast<int32_t>(s.rows);
  view.head_dim = static_cast<int32_t>(s.head_dim);
  view.dtype = t.dtype;
  view.vector_io = is_vector_aligned(t, layout);
  return view;
}

bool is_vector_aligned(const TensorView& t, TensorLayout layout) {
  const Shape s = shape_of(t, layout);
  const Strides d = strides_of(t, layout);
  const auto whole = [](int64_t size, int64_t stride) { return size <= 1 || stride % 8 == 0; };
  return reinterpret_cast<uintptr_t>(t.data) % 16 == 0 && s.head_dim % 8 == 0 && whole(s.batch, d.batch) &&
         whole(s.heads, d.head) && whole(s.rows, d.row);
}

Status validate_tensor(const TensorView& t, TensorLayout layout, const char* name) {
  if (!valid_layout(layout)) {
    return fail(Status::kInvalidArgument, "tensor_layout: found %d; accepted are 0 (HND) and 1 (NHD)",
                static_cast<int>(layout));
  }
  if (t.dtype != DType::kFloat16 && t.dtype != DType::kBFloat16) {
    return fail(Status::kInvalidArgument, "%s: dtype is %d; accepted are 0 (float16) and 1 (bfloat16)", name,
                static_cast<int>(t.dtype));
  }
  bool empty = false;
  for (int i = 0; i < 4; i++) {
    if (t.size[i] < 0) {
      return fail(Status::kInvalidArgument, "%s: size[%d] is %lld; sizes must not be negative", name, i,
                  static_cast<long long>(t.size[i]));
    }
    empty = empty || t.size[i] == 0;
  }
  for (int i = 0; i < 4; i++) {
    if (t.stride[i] < 0) {
      return fail(Status::kInvalidArgument, "%s: stride[%d] is %lld; strides must not be negative", name, i,
                  static_cast<long long>(t.stride[i]));
    }
  }
  if (t.size[3] > 1 && t.stride[3] != 1) {
    return fail(Status::kInvalidArgument, "%s: stride[3] is %lld; channels must be contiguous (stride 1)", name,
                static_cast<long long>(t.stride[3]));
  }
  if (t.data == nullptr && !empty) return fail(Status::kInvalidArgument, "%s: data is null", name);
  if (reinterpret_cast<uintptr_t>(t.data) % 2 != 0) {
    return fail(Status::kInvalidArgument, "%s: data is %p; 16-bit elements need an even address", name, t.data);
  }
  return Status::kOk;
}

Status validate_output(const void* o, const void* q, const void* k, const void* v) {
  if (o == nullptr || (o != q && o != k && o != v)) return Status::kOk;
  return fail(Status::kInvalidArgument, "o: shares its address with an input; the output must not overlap an input");
}

Status validate_attention(const AttentionParams& p, AttentionArgs* args) {
  const TensorLayout layout = p.tensor_layout;
  ATTN4J_RETURN_IF_ERROR(validate_tensor(p.q, layout, "q"));
  ATTN4J_RETURN_IF_ERROR(validate_tensor(p.k, layout, "k"));
  ATTN4J_RETURN_IF_ERROR(validate_tensor(p.v, layout, "v"));
  ATTN4J_RETURN_IF_ERROR(validate_tensor(p.o, layout, "o"));
  ATTN4J_RETURN_IF_ERROR(require_equal("dtype", "k", static_cast<int>(p.k.dtype), "q", static_cast<int>(p.q.dtype)));
  ATTN4J_RETURN_IF_ERROR(require_equal("dtype", "v", static_cast<int>(p.v.dtype), "q", static_cast<int>(p.q.dtype)));
  ATTN4J_RETURN_IF_ERROR(require_equal("dtype", "o", static_cast<int>(p.o.dtype), "q", static_cast<int>(p.q.dtype)));
  const Shape q = shape_of(p.q, layout), k = shape_of(p.k, layout), v = shape_of(p.v, layout);
  ATTN4J_RETURN_IF_ERROR(validate_shapes(q, k, v, shape_of(p.o, layout)));
  ATTN4J_RETURN_IF_ERROR(validate_options(p));
  for (int i = 0; i < 4; i++) {
    if (p.o.size[i] > 1 && p.o.stride[i] == 0) {
      return fail(Status::kInvalidArgument, "o: stride[%d] is 0; an output can't be broadcast", i);
    }
  }
  ATTN4J_RETURN_IF_ERROR(validate_output(p.o.data, p.q.data, p.k.data, p.v.data));

  AttentionArgs a;
  a.q = p.q.data, a.k = p.k.data, a.v = p.v.data, a.o = p.o.data;
  a.q_stride = strides_of(p.q, layout), a.k_stride = strides_of(p.k, layout);
  a.v_stride = strides_of(p.v, layout), a.o_stride = strides_of(p.o, layout);
  ATTN4J_RETURN_IF_ERROR(validate_mask(p.seen, "seen", MaskType::kSeen, MaskType::kSeen, &a.masks.seen));
  ATTN4J_RETURN_IF_ERROR(validate_mask(p.bias, "bias", MaskType::kFloat16, MaskType::kFloat32, &a.masks.bias));
  ATTN4J_RETURN_IF_ERROR(validate_window(p.window, q, k, &a.masks.window));
  ATTN4J_RETURN_IF_ERROR(validate_packed(p, q, k, &a.packed));
  a.lse = static_cast<float*>(p.lse);
  a.kv_lengths = static_cast<const int32_t*>(p.kv_lengths);
  a.batch = static_cast<int32_t>(q.batch);
  a.heads_q = static_cast<int32_t>(q.heads);
  a.heads_kv = static_cast<int32_t>(k.heads);
  a.group = k.heads > 0 ? static_cast<int32_t>(q.heads / k.heads) : 1;
  a.lq = static_cast<int32_t>(q.rows);
  a.lk = static_cast<int32_t>(k.rows);
  a.head_dim = static_cast<int32_t>(q.head_dim);
  if (p.is_causal) {
    a.causal_offset = p.causal_alignment == CausalAlignment::kTopLeft ? 0 : static_cast<int32_t>(k.rows - q.rows);
  }
  const float scale = p.has_sm_scale ? p.sm_scale : 1.f / std::sqrt(static_cast<float>(q.head_dim));
  a.scale_log2 = std::fabs(scale) * 1.44269504088896f;
  a.q_sign = scale < 0.f ? -1.f : 1.f;
  a.vector_io = is_vector_aligned(p.q, layout) && is_vector_aligned(p.o, layout);
  *args = a;
  return Status::kOk;
}

Status validate_workspace(const Workspace& workspace, int64_t needed) {
  if (workspace.size < needed || (needed > 0 && workspace.data == nullptr)) {
    return fail(Status::kWorkspaceTooSmall, "workspace: has %lld bytes; this call needs %lld",
                static_cast<long long>(workspace.data == nullptr ? 0 : workspace.size), static_cast<long long>(needed));
  }
  if (needed > 0 && reinterpret_cast<uintptr_t>(workspace.data) % 256 != 0) {
    return fail(Status::kInvalidArgument, "workspace: address %p is not aligned to 256 bytes", workspace.data);
  }
  return Status::kOk;
}

Status validate_device(const NamedAddress* addresses, int count, int* device) {
  int first = -1;
  for (int i = 0; i < count; i++) {
    if (addresses[i].address == nullptr) continue;
    cudaPointerAttributes attributes;
    ATTN4J_RETURN_IF_ERROR(
        check_cuda(cudaPointerGetAttributes(&attributes, addresses[i].address), "cudaPointerGetAttributes"));
    if (attributes.type != cudaMemoryTypeDevice && attributes.type != cudaMemoryTypeManaged) {
      return fail(Status::kInvalidArgument, "%s: %p is host memory; GPU kernels need device memory", addresses[i].name,
                  addresses[i].address);
    }
    if (first < 0) {
      first = i;
      *device = attributes.device;
    } else if (attributes.device != *device) {
      return fail(Status::kInvalidArgument, "%s: is on device %d but %s is on device %d; all must be on one device",
                  addresses[i].name, attributes.device, addresses[first].name, *device);
    }
  }
  return Status::kOk;
}

DeviceScope::DeviceScope(int device) {
  error_ = cudaGetDevice(&previous_);
  if (error_ != cudaSuccess || previous_ == device) {
    previous_ = -1;
    return;
  }
  error_ = cudaSetDevice(device);
}

DeviceScope::~DeviceScope() {
  if (previous_ >= 0) cudaSetDevice(previous_);
}

}  // namespace attn4j
