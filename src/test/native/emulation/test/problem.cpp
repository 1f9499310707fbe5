#include "test/problem.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iterator>
#include <limits>
#include <new>
#include <random>
#include <utility>

#include "host/call.h"
#include "test/hard_data.h"

namespace emulation_test {

using attn4j::AttentionFunction;
using attn4j::Status;
using attn4j::TensorView;

namespace {

// The names of a case's numbers.
template <class C, class F>
void each_number(C& c, const F& f) {
  f("b", c.b), f("hq", c.hq), f("hkv", c.hkv), f("lq", c.lq), f("lk", c.lk), f("d", c.d), f("bf16", c.bf16);
  f("nhd", c.nhd), f("lse", c.lse), f("smooth_k", c.smooth_k), f("causal", c.causal), f("length", c.length);
  f("granularity", c.granularity), f("shift", c.shift), f("scale", c.scale), f("sparse_share", c.sparse_share);
  f("dense_head", c.dense_head), f("tokens", c.tokens);
  f("seen", c.seen), f("bias", c.bias), f("repeats", c.repeats), f("turned", c.turned), f("shown", c.shown);
  f("least", c.least);
  f("left", c.left), f("right", c.right), f("prefix", c.prefix), f("garbage", c.garbage), f("data", c.data),
      f("odd", c.odd), f("odd_row", c.odd_row), f("odd_value", c.odd_value);
  f("hard", c.hard), f("place", c.place), f("share", c.share), f("sms", c.sms);
}

uint16_t bits_of(bool bf16, float x) {
  return bf16 ? static_cast<__nv_bfloat16_raw>(__float2bfloat16_rn(x)).x
              : static_cast<__half_raw>(__float2half_rn(x)).x;
}
double value_of(bool bf16, uint16_t x) {
  return bf16 ? __bfloat162float(__nv_bfloat16(__nv_bfloat16_raw{x})) : __half2float(__half(__half_raw{x}));
}

}  // namespace

std::string Case::text() const {
  std::string text = kernel;
  const Case standard;
  each_number(*this, [&](const char* name, auto& value) {
    std::string number = std::to_string(value);
    if (number.find('.') != std::string::npos) {
      while (number.back() == '0') number.pop_back();
    }
    bool differs = true;
    each_number(standard, [&](const char* other, auto& usual) {
      if (std::string(name) == other) differs = static_cast<double>(usual) != static_cast<double>(value);
    });
    if (differs) text += std::string(" ") + name + "=" + number;
  });
  return text;
}

bool Case::set(const std::string& assignment) {
  const size_t equals = assignment.find('=');
  if (equals == std::string::npos) return false;
  bool known = false;
  each_number(*this, [&](const char* name, auto& value) {
    if (assignment.substr(0, equals) != name) return;
    value = static_cast<std::decay_t<decltype(value)>>(std::atof(assignment.c_str() + equals + 1));
    known = true;
  });
  return known;
}

void* Problem::allocate(int64_t bytes) {
  void* p = nullptr;
  if (cudaMalloc(&p, static_cast<size_t>(std::max<int64_t>(bytes, 1))) != cudaSuccess) std::abort();
  memory_.push_back(p);
  return p;
}

TensorView Problem::tensor(int64_t heads, int64_t rows) {
  TensorView t;
  t.dtype = c_.bf16 ? attn4j::DType::kBFloat16 : attn4j::DType::kFloat16;
  const int64_t pitch = c_.d + c_.shift;
  const int64_t sizes[4] = {c_.b, c_.nhd ? rows : heads, c_.nhd ? heads : rows, c_.d};
  std::copy(sizes, sizes + 4, t.size);
  t.stride[3] = 1, t.stride[2] = pitch, t.stride[1] = sizes[2] * pitch, t.stride[0] = heads * rows * pitch;
  t.data = static_cast<uint16_t*>(allocate((c_.b * heads * rows * pitch + c_.shift) * 2)) + c_.shift;
  return t;
}

Problem::Problem(const Case& c) : c_(c) {
  params.q = tensor(c.hq, c.lq), params.k = tensor(c.hkv, c.lk);
  params.v = tensor(c.hkv, c.lk), params.o = tensor(c.hq, c.lq);
  params.tensor_layout = c.nhd ? attn4j::TensorLayout::kNHD : attn4j::TensorLayout::kHND;
  std::mt19937 random(static_cast<uint32_t>(c.data));
  std::normal_distribution<float> normal;
  TensorView* tensors[3] = {&params.q, &params.k, &params.v};
  for (int which = 0; which < 3; which++) {
    const TensorView& t = *tensors[which];
    float offsets[512];
    for (float& x : offsets) x = which == 1 ? 2.f * normal(random) : which == 2 ? 0.5f * normal(random) : 0.f;
    for (int64_t i = 0; i < t.size[0] * t.size[1] * t.size[2]; i++) {
      auto* row = static_cast<uint16_t*>(t.data) + i * t.stride[2];
      for (int64_t e = 0; e < c.d; e++) {
        const float z = normal(random);
        row[e] = bits_of(c.bf16, c.hard != 0 ? hard_number(c, which, i % t.size[2], t.size[2], e, z) : z + offsets[e]);
      }
    }
    if (c.odd == which + 1) {
      const int64_t head = t.size[c.nhd ? 2 : 1] - 1, row_stride = t.stride[c.nhd ? 1 : 2];
      const float odd[] = {0.f, NAN, INFINITY, -INFINITY};
      static_cast<uint16_t*>(
          t.data)[(c.b - 1) * t.stride[0] + head * t.stride[c.nhd ? 2 : 1] + c.odd_row * row_stride + 5] =
          bits_of(c.bf16, odd[c.odd_value]);
    }
  }
  if (c.lse) params.lse = allocate(c.b * c.hq * c.lq * 4);
  params.is_causal = c.causal != 0;
  params.causal_alignment = c.causal == 2 ? attn4j::CausalAlignment::kBottomRight : attn4j::CausalAlignment::kTopLeft;
  if (c.length >= 0) {
    for (int64_t i = 0; i < c.b; i++) lengths_.push_back(std::max(0, c.length - 13 * static_cast<int>(i)));
    params.kv_lengths = allocate(c.b * 4);
    std::copy(lengths_.begin(), lengths_.end(), static_cast<int32_t*>(const_cast<void*>(params.kv_lengths)));
  }
  params.has_sm_scale = c.scale != 0;
  params.sm_scale = c.scale;
  params.qk_quant_gran = static_cast<attn4j::QuantGranularity>(c.granularity);
  params.smooth_k = c.smooth_k;
  if (c.kernel == "int8_acc16") params.pv_accum_dtype = attn4j::PvAccumDType::kFp16Fp32;
  if (c.kernel == "fp8_acc16") params.pv_accum_dtype = attn4j::PvAccumDType::kFp32Fp16;
  if (c.kernel.compare(0, 2, "sp") == 0) choose_blocks();
  masks_.make(
      c, [this](int64_t bytes) { return allocate(bytes); }, &params);
  if (c.garbage != 0) spoil_hidden_keys();
}

void Problem::spoil_hidden_keys() {
  for (const TensorView& t : {params.k, params.v}) {
    for (int64_t i = 0; i < c_.b * c_.hkv * c_.lk; i++) {
      const int64_t key = i % c_.lk, head = i / c_.lk % c_.hkv, b = i / c_.lk / c_.hkv;
      if (!masks_.hides(c_, b, head, key)) continue;
      const int64_t row = b * t.stride[0] + head * t.stride[c_.nhd ? 2 : 1] + key * t.stride[c_.nhd ? 1 : 2];
      static_cast<uint16_t*>(t.data)[row + key % c_.d] = bits_of(c_.bf16, NAN);
    }
  }
}

Problem::~Problem() {
  for (void* p : memory_) cudaFree(p);
}

int64_t Problem::blocks() const { return c_.b * c_.hq * grid_.query_blocks * grid_.key_blocks; }

void Problem::choose_blocks() {
  if (attn4j::spas_block_grid(params, &grid_) != Status::kOk) return;
  auto* device = static_cast<uint8_t*>(allocate(blocks()));
  sparsity.pvthreshd = std::numeric_limits<float>::infinity();
  if (c_.kernel != "sparse") {  // the library's choice, which it tells
    sparsity.block_map = device;
    sparsity.simthreshd1 = -1.f;
    sparsity.cdfthreshd = sparsity.topk = static_cast<float>(c_.sparse_share) / 100.f;
    if (c_.kernel == "spas") sparsity.topk = 0.f;
    if (c_.tokens != 0) order_tokens();
    return;
  }
  std::mt19937 random(static_cast<uint32_t>(c_.data + 1));
  for (int64_t i = 0; i < blocks(); i++) mask_.push_back(static_cast<int>(random() % 100) < c_.sparse_share);
  std::copy(mask_.begin(), mask_.end(), device);
  sparsity.block_mask = device;
}

void Problem::order_tokens() {
  auto* orders = static_cast<int32_t*>(allocate(static_cast<int64_t>(sizeof(int32_t)) * c_.b * c_.lq));
  token_place_.resize(static_cast<size_t>(c_.b * c_.lq));
  std::mt19937 random(static_cast<uint32_t>(c_.data + 2));
  for (int64_t b = 0; b < c_.b; b++) {
    int32_t* const order = orders + b * c_.lq;
    for (int64_t i = 0; i < c_.lq; i++) order[i] = static_cast<int32_t>(i);
    std::shuffle(order, order + c_.lq, random);
    for (int64_t i = 0; i < c_.lq; i++) token_place_[b * c_.lq + order[i]] = static_cast<int32_t>(i);
  }
  sparsity.token_order = orders;
}

std::vector<double> Problem::read(const TensorView& t) const {
  std::vector<double> values;
  const int64_t heads = t.size[c_.nhd ? 2 : 1], rows = t.size[c_.nhd ? 1 : 2];
  for (int64_t i = 0; i < c_.b * heads * rows; i++) {
    const int64_t row = i % rows, head = i / rows % heads, b = i / rows / heads;
    const auto* p = static_cast<const uint16_t*>(t.data) + b * t.stride[0] + head * t.stride[c_.nhd ? 2 : 1] +
                    row * t.stride[c_.nhd ? 1 : 2];
    for (int64_t e = 0; e < c_.d; e++) values.push_back(value_of(c_.bf16, p[e]));
  }
  return values;
}

// What heads report to have left out is what the map says, of one batch entry; a dense head leaves out nothing.
std::string Problem::report_fault(const float* report) const {
  for (int64_t h = 0; h < c_.hq; h++) {
    bool found = false;
    for (int64_t b = 0; b < c_.b; b++) {
      int64_t visible = 0, kept = 0;
      for (int64_t i = 0; i < grid_.query_blocks; i++) {
        const int64_t last = std::min((i + 1) * grid_.query_block, c_.lq) - 1;
        visible += (keys_of_row(b, last) + grid_.key_block - 1) / grid_.key_block;
        const auto row = mask_.begin() + ((b * c_.hq + h) * grid_.query_blocks + i) * grid_.key_blocks;
        kept += std::count(row, row + grid_.key_blocks, 1);
      }
      const double share = visible > 0 ? static_cast<double>(visible - kept) / static_cast<double>(visible) : 0;
      found = found || std::fabs(share - report[h]) < 1e-6;
      if (h == c_.dense_head && kept != visible) return "the dense head " + std::to_string(h) + " leaves out blocks";
    }
    if (!found) return "head " + std::to_string(h) + " reports " + std::to_string(report[h]) + ", not what it left out";
  }
  return "";
}

std::string Problem::run(Output* out) {
  constexpr std::pair<const char*, AttentionFunction> kFunctions[] = {
      {"exact", AttentionFunction::kExactAttn},
      {"masked", AttentionFunction::kExactAttn},
      {"int8_f16", AttentionFunction::kSageattnInt8Fp16},
      {"int8_acc16", AttentionFunction::kSageattnInt8Fp16},
      {"fp8", AttentionFunction::kSageattnInt8Fp8},
      {"fp8_acc16", AttentionFunction::kSageattnInt8Fp8},
      {"fp8_sm90", AttentionFunction::kSageattnInt8Fp8Sm90},
      {"sage", AttentionFunction::kSageattn},
      {"sparse", AttentionFunction::kBlockSparse},
      {"spas", AttentionFunction::kSpasMeansim},
      {"spas_topk", AttentionFunction::kSpasMeansimTopk},
  };
  attn4j::PlanRequest request;
  const auto* known =
      std::find_if(std::begin(kFunctions), std::end(kFunctions), [&](const auto& f) { return c_.kernel == f.first; });
  if (known == std::end(kFunctions)) return "no kernel is called " + c_.kernel;
  request.function = known->second;
  request.attention = params, request.sparsity = sparsity;
  request.multiprocessors = c_.sms;
  attn4j::PlanHandle plan;
  attn4j::PlanFacts facts;
  if (attn4j::plan_attention(request, &plan, &facts) != Status::kOk) {
    return std::string("refused: ") + attn4j::last_error();
  }
  kernel_ = facts.kernel;
  const attn4j::AttentionPlan& planned = std::launder(reinterpret_cast<attn4j::CallPlan*>(plan.opaque))->attention();
  const attn4j::ItemParts& parts = planned.args().parts;
  parts_ = int64_t{parts.divided(attn4j::items_of(planned.kernel(), planned.args()))} * parts.parts;
  attn4j::PlanAddresses a;
  a.q = params.q.data, a.k = params.k.data, a.v = params.v.data, a.o = params.o.data, a.lse = params.lse;
  a.seen = params.seen.data, a.bias = params.bias.data;
  a.kv_lengths = params.kv_lengths, a.block_mask = sparsity.block_mask, a.block_map = sparsity.block_map;
  a.token_order = sparsity.token_order;
  a.workspace = {allocate(facts.workspace_size), facts.workspace_size};
  if (sparsity.block_map != nullptr) a.report = allocate(static_cast<int64_t>(sizeof(float)) * c_.hq);
  if (c_.dense_head >= 0) a.dense_heads[c_.dense_head / 64] = uint64_t{1} << c_.dense_head % 64;
  if (attn4j::run_plan(plan, a, nullptr) != Status::kOk) return attn4j::last_error();
  if (sparsity.block_map != nullptr) {
    const auto* map = static_cast<const uint8_t*>(sparsity.block_map);
    mask_.assign(map, map + blocks());
    const std::string fault = report_fault(static_cast<const float*>(a.report));
    if (!fault.empty()) return fault;
  }
  out->o = read(params.o);
  out->lse.clear();
  const auto* lse = static_cast<const float*>(params.lse);
  if (c_.lse) out->lse.assign(lse, lse + c_.b * c_.hq * c_.lq);
  return "";
}

int64_t Problem::keys_of_row(int64_t batch, int64_t row) const {
  int64_t keys = lengths_.empty() ? c_.lk : std::min<int64_t>(lengths_[batch], c_.lk);
  if (c_.causal != 0) keys = std::min(keys, row + 1 + (c_.causal == 2 ? c_.lk - c_.lq : 0));
  return std::max<int64_t>(keys, 0);
}

bool Problem::computes(int64_t head, int64_t row, int64_t key) const {
  if (mask_.empty()) return true;
  if (!token_place_.empty()) {
    const int32_t* const place = token_place_.data() + head / c_.hq * c_.lq;
    row = place[row], key = place[key];
  }
  return mask_[(head * grid_.query_blocks + row / grid_.query_block) * grid_.key_blocks + key / grid_.key_block] != 0;
}

double Problem::score_noise(const std::vector<double>& q, const std::vector<double>& k, double scale) const {
  // The largest element and the largest sum of squares of a row, less the mean of `rows` rows if it is taken away.
  const auto sizes = [&](const std::vector<double>& x, int64_t rows, bool smooth, double* largest, double* squares) {
    std::vector<double> mean(static_cast<size_t>(c_.d));
    *largest = *squares = 0;
    const auto all = static_cast<int64_t>(x.size()) / c_.d;
    for (int64_t i = 0; i < all; i++) {
      if (i % rows == 0) {
        for (int64_t e = 0; e < c_.d; e++) {
          mean[e] = 0;
          for (int64_t j = i; j < i + rows && smooth; j++)
            mean[e] += std::isfinite(x[j * c_.d + e]) ? x[j * c_.d + e] / rows : 0;
        }
      }
      double sum = 0;
      for (int64_t e = 0; e < c_.d; e++) {
        const double y = x[i * c_.d + e] - mean[e];
        if (std::isfinite(y)) sum += y * y, *largest = std::max(*largest, std::fabs(y));
      }
      *squares = std::max(*squares, sum);
    }
  };
  double q_largest, q_squares, k_largest, k_squares;
  sizes(q, c_.lq, false, &q_largest, &q_squares);
  sizes(k, c_.lk, c_.smooth_k && c_.length < 0, &k_largest, &k_squares);
  return std::fabs(scale) / 127 *
         std::sqrt((q_largest * q_largest * k_squares + k_largest * k_largest * q_squares) / 12);
}

Output Problem::reference() const {
  Output out;
  const std::vector<double> q = read(params.q), k = read(params.k), v = read(params.v);
  const double scale = c_.scale != 0 ? c_.scale : 1. / std::sqrt(static_cast<double>(c_.d));
  out.score_noise = score_noise(q, k, scale);
  if (c_.hard != 0)
    out.hard_model = emulation_test::hard_model(c_, kernel_.find("fp8") != std::string::npos, scale, q, k, v);
  std::vector<double> w;
  std::vector<bool> hidden;
  std::vector<double> sizes(static_cast<size_t>(c_.b * c_.hkv * c_.d));
  for (size_t i = 0; i < v.size(); i++) {
    const int64_t head = static_cast<int64_t>(i) / c_.d / c_.lk;
    if (std::isfinite(v[i])) sizes[head * c_.d + i % c_.d] += std::fabs(v[i]) / static_cast<double>(c_.lk);
  }
  for (int64_t i = 0; i < c_.b * c_.hq * c_.lq; i++) {
    const int64_t row = i % c_.lq, head = i / c_.lq, batch = head / c_.hq;
    const int64_t kv = batch * c_.hkv + head % c_.hq / (c_.hq / c_.hkv), keys = keys_of_row(batch, row);
    w.assign(static_cast<size_t>(keys), -INFINITY);
    hidden.assign(static_cast<size_t>(keys), false);
    double top = -INFINITY, sum = 0;
    for (int64_t j = 0; j < keys; j++) {
      const double addend = masks_.addend(batch, head % c_.hq, row, j);
      hidden[j] = !computes(head, row, j) || addend == -INFINITY;
      if (hidden[j]) continue;
      double s = 0;
      for (int64_t e = 0; e < c_.d; e++) s += q[i * c_.d + e] * k[(kv * c_.lk + j) * c_.d + e];
      w[j] = s * scale + addend;
      top = std::isnan(w[j]) || w[j] > top ? w[j] : top;
    }
    const bool sees_any = !(top == -INFINITY);
    for (double& x : w) sum += x = sees_any ? std::exp(x - top) : 0;
    for (int64_t e = 0; e < c_.d; e++) {
      double o = 0, weighted = 0, plain = 0;
      for (int64_t j = 0; j < keys; j++) {
        if (hidden[j]) continue;
        const double x = v[(kv * c_.lk + j) * c_.d + e];
        o += w[j] * x, weighted += w[j] * std::fabs(x), plain += std::fabs(x);
      }
      out.o.push_back(sees_any ? o / sum : 0), out.weighted.push_back(sees_any ? weighted / sum : 0);
      out.plain.push_back(plain), out.channel.push_back(sizes[kv * c_.d + e]);
    }
    out.lse.push_back(sees_any ? top + std::log(sum) : -INFINITY);
  }
  return out;
}

}  // namespace emulation_test
