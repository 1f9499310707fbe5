#include "request.h"

#include <cmath>

namespace attn4j_torch {
namespace {

struct Meta {
  int64_t rank = 0;
  int64_t* size = nullptr;
  int64_t* stride = nullptr;
  int32_t dtype = -1;
  int32_t device_type = -1;
  int32_t device = -1;
};

// Only for a tensor that has memory: PyTorch's functions would report an error of a sparse one's strides.
Meta read(const TorchAbi& torch, Handle tensor) {
  Meta meta;
  torch.rank(tensor, &meta.rank);
  torch.sizes(tensor, &meta.size);
  torch.strides(tensor, &meta.stride);
  torch.dtype(tensor, &meta.dtype);
  torch.device_type(tensor, &meta.device_type);
  torch.device(tensor, &meta.device);
  return meta;
}

bool is_plain(const TorchAbi& torch, const TensorSlot& tensor) {
  return torch.has_storage(tensor.impl) && !torch.is_negated(tensor) && !torch.is_zero(tensor);
}

// Reverse mode, if it is recorded now; forward mode, if the tensor is dual.
bool needs_gradient(const TorchAbi& torch, const Call& call) {
  static const void* undefined = [&torch] {
    Handle handle = nullptr;
    torch.new_undefined(&handle);
    const void* impl = static_cast<const TensorSlot*>(handle)->impl;
    torch.delete_tensor(handle);
    return impl;
  }();
  bool recording = torch.grad_enabled();
  for (const Owned* tensor : {&call.q, &call.k, &call.v, &call.mask}) {
    if (tensor->get() == nullptr) continue;  // no mask
    const TensorSlot& slot = tensor->slot();
    if (recording && torch.requires_grad(slot.impl)) return true;
    if (torch.forward_grad(slot.impl, 0, slot).impl != undefined) return true;
  }
  return false;
}

Operand operand(const Meta& meta) {
  if (meta.rank == 4) {
    return {{meta.size[0], meta.size[1], meta.size[2], meta.size[3]},
            {meta.stride[0], meta.stride[1], meta.stride[2], meta.stride[3]}};
  }
  return {{meta.size[0], 1, meta.size[1], meta.size[2]}, {meta.stride[0], 0, meta.stride[1], meta.stride[2]}};
}

bool is_rows(const Operand& x) { return x.stride[3] == 1 || x.size[3] == 1; }

bool is_empty(const Operand& x) { return x.size[0] == 0 || x.size[1] == 0 || x.size[2] == 0 || x.size[3] == 0; }

// PyTorch's broadcasting: a size of 1 is repeated.
bool repeats_to(int64_t size, int64_t wanted) { return size == wanted || size == 1; }

int64_t largest(int64_t a, int64_t b, int64_t c) {
  int64_t ab = a > b ? a : b;
  return ab > c ? ab : c;
}

bool set_heads(const Operand& q, const Operand& k, const Operand& v, bool gqa, Sizes* sizes) {
  if (gqa) {
    sizes->heads = q.size[1];
    sizes->heads_kv = k.size[1];
    return k.size[1] == v.size[1] && q.size[1] % k.size[1] == 0;
  }
  sizes->heads = largest(q.size[1], k.size[1], v.size[1]);
  sizes->heads_kv = k.size[1] == 1 && v.size[1] == 1 ? 1 : sizes->heads;
  return repeats_to(q.size[1], sizes->heads) && repeats_to(k.size[1], sizes->heads_kv) &&
         repeats_to(v.size[1], sizes->heads_kv);
}

bool set_sizes(Geometry* g, bool gqa) {
  const Operand &q = g->q, &k = g->k, &v = g->v;
  if (q.size[3] != k.size[3] || q.size[3] != v.size[3] || k.size[2] != v.size[2]) return false;
  if (is_empty(q) || is_empty(k) || is_empty(v)) return false;
  Sizes* sizes = &g->sizes;
  sizes->batch = largest(q.size[0], k.size[0], v.size[0]);
  sizes->queries = q.size[2];
  sizes->keys = k.size[2];
  sizes->head_dim = q.size[3];
  return set_heads(q, k, v, gqa, sizes) && repeats_to(q.size[0], sizes->batch) && repeats_to(k.size[0], sizes->batch) &&
         repeats_to(v.size[0], sizes->batch);
}

Operand expanded(const Operand& x, int64_t batch, int64_t heads) {
  Operand wide = x;
  if (x.size[0] != batch) wide.size[0] = batch, wide.stride[0] = 0;
  if (x.size[1] != heads) wide.size[1] = heads, wide.stride[1] = 0;
  return wide;
}

void fill(const TorchAbi& torch, const Operand& x, Handle tensor, attn4j::DType dtype, attn4j::TensorView* view) {
  for (int i = 0; i < 4; i++) {
    view->size[i] = x.size[i];
    view->stride[i] = x.stride[i];
  }
  view->dtype = dtype;
  torch.data_ptr(tensor, &view->data);
}

// Sorts dimensions by their strides, the largest first. A size of 1 goes inwards, where its stride disturbs nobody; a
// repeated dimension has no place in memory, so that the order stays as it is.
void order_as_in_memory(const Operand& x, int order[3]) {
  int64_t step[3];
  for (int i = 0; i < 3; i++) {
    if (x.size[i] > 1 && x.stride[i] == 0) return;
    step[i] = x.size[i] == 1 ? 0 : x.stride[i];
  }
  for (int i = 1; i < 3; i++) {
    for (int j = i; j > 0 && step[order[j - 1]] < step[order[j]]; j--) {
      int outer = order[j];
      order[j] = order[j - 1];
      order[j - 1] = outer;
    }
  }
}

bool broadcasts(int64_t size, int64_t wanted) { return size == 1 || size == wanted; }

// The mask as (batch, head, query, key), with stride 0 where it is the same for all. False if its sizes don't fit.
bool view_of_mask(const Meta& mask, const Geometry& g, attn4j::MaskView* view) {
  const int third = g.rank == 3 ? 0 : 1;  // what the third dimension from the end is
  const int place[4] = {3, 2, third, 0};
  const int64_t wanted[4] = {g.q.size[0], g.q.size[1], g.sizes.queries, g.sizes.keys};
  if (mask.rank < 2 || mask.rank > g.rank) return false;
  for (int64_t from_end = 0; from_end < mask.rank; from_end++) {
    const int64_t i = mask.rank - 1 - from_end;
    const int to = place[from_end];
    if (!broadcasts(mask.size[i], wanted[to])) return false;
    view->stride[to] = mask.size[i] == 1 ? 0 : mask.stride[i];
  }
  return true;
}

bool read_mask(const TorchAbi& torch, const Call& call, bool any_mask, Geometry* g) {
  if (call.causal || !is_plain(torch, call.mask.slot())) return false;
  const Meta mask = read(torch, call.mask.get());
  attn4j::MaskView view;
  if (mask.device_type != g->device_type || mask.device != g->device || !view_of_mask(mask, *g, &view)) return false;
  torch.data_ptr(call.mask.get(), const_cast<void**>(&view.data));
  if (mask.dtype == torch.boolean()) {
    g->seen = view;
    return any_mask || (view.stride[1] == 0 && view.stride[2] == 0);
  }
  if (mask.dtype != g->dtype && mask.dtype != torch.float32()) return false;
  view.type = mask.dtype == torch.float32()    ? attn4j::MaskType::kFloat32
              : mask.dtype == torch.bfloat16() ? attn4j::MaskType::kBFloat16
                                               : attn4j::MaskType::kFloat16;
  g->bias = view;
  return any_mask;
}

bool refuse(Outcome why, Outcome* outcome) {
  *outcome = why;
  return false;
}

}  // namespace

bool read_call(const TorchAbi& torch, const Call& call, bool any_mask, Geometry* g, Outcome* outcome) {
  if (call.dropout != 0) return refuse(Outcome::kDropout, outcome);
  if (!is_plain(torch, call.q.slot()) || !is_plain(torch, call.k.slot()) || !is_plain(torch, call.v.slot())) {
    return refuse(Outcome::kTensor, outcome);
  }
  Meta q = read(torch, call.q.get()), k = read(torch, call.k.get()), v = read(torch, call.v.get());
  if ((q.rank != 3 && q.rank != 4) || k.rank != q.rank || v.rank != q.rank || (call.gqa && q.rank == 3)) {
    return refuse(Outcome::kRank, outcome);
  }
  if (needs_gradient(torch, call)) return refuse(Outcome::kGradient, outcome);
  if (call.scale && !std::isfinite(static_cast<float>(*call.scale))) return refuse(Outcome::kScale, outcome);
  if (k.device_type != q.device_type || v.device_type != q.device_type || k.device != q.device ||
      v.device != q.device) {
    return refuse(Outcome::kDevice, outcome);
  }
  if ((q.dtype != torch.float16() && q.dtype != torch.bfloat16()) || k.dtype != q.dtype || v.dtype != q.dtype) {
    return refuse(Outcome::kType, outcome);
  }
  g->q = operand(q), g->k = operand(k), g->v = operand(v);
  g->rank = q.rank, g->dtype = q.dtype, g->device_type = q.device_type, g->device = q.device;
  if (!is_rows(g->q) || !is_rows(g->k) || !is_rows(g->v)) return refuse(Outcome::kStrides, outcome);
  if (!set_sizes(g, call.gqa)) return refuse(Outcome::kShape, outcome);
  return call.mask.get() == nullptr || read_mask(torch, call, any_mask, g) || refuse(Outcome::kMask, outcome);
}

bool allocate_output(const TorchAbi& torch, const Geometry& g, Operand* o, Handle* result) {
  const Sizes& sizes = g.sizes;
  *o = {{sizes.batch, sizes.heads, sizes.queries, sizes.head_dim}, {0, 0, 0, 1}};
  int order[3] = {0, 1, 2};  // outermost first; channels are always innermost
  if (g.q.size[0] == sizes.batch && g.q.size[1] == sizes.heads) order_as_in_memory(g.q, order);
  int64_t step = sizes.head_dim;
  for (int i = 2; i >= 0; i--) {
    o->stride[order[i]] = step;
    step *= o->size[order[i]];
  }
  if (g.rank == 4) {
    return torch.empty_strided(4, o->size, o->stride, g.dtype, g.device_type, g.device, result) == 0;
  }
  int64_t size[3] = {o->size[0], o->size[2], o->size[3]};
  int64_t stride[3] = {o->stride[0], o->stride[2], o->stride[3]};
  return torch.empty_strided(3, size, stride, g.dtype, g.device_type, g.device, result) == 0;
}

void fill_request(const TorchAbi& torch, const Call& call, const Geometry& g, const Operand& o, Handle output,
                  attn4j::AttentionParams* params) {
  const Sizes& sizes = g.sizes;
  attn4j::DType dtype = g.dtype == torch.bfloat16() ? attn4j::DType::kBFloat16 : attn4j::DType::kFloat16;
  fill(torch, expanded(g.q, sizes.batch, sizes.heads), call.q.get(), dtype, &params->q);
  fill(torch, expanded(g.k, sizes.batch, sizes.heads_kv), call.k.get(), dtype, &params->k);
  fill(torch, expanded(g.v, sizes.batch, sizes.heads_kv), call.v.get(), dtype, &params->v);
  fill(torch, o, output, dtype, &params->o);
  params->seen = g.seen;
  params->bias = g.bias;
  params->is_causal = call.causal;
  params->has_sm_scale = call.scale.has_value();
  params->sm_scale = call.scale ? static_cast<float>(*call.scale) : 0.f;
}

}  // namespace attn4j_torch
