#include "ort_op.h"

#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "hook.h"
#include "ort_abi.h"

namespace attn4j_torch::ort {
namespace {

constexpr const char* kName = "MultiHeadAttention";
constexpr const char* kDomain = "com.microsoft";
// query, key, value, bias, key_padding_mask, attention_bias, past_key, past_value, past_sequence_length,
// cache_indirection; output, present_key, present_value, qk.
constexpr size_t kInputs = 10, kOutputs = 4, kPadding = 4, kPastKey = 6, kPastLength = 8;
constexpr size_t kReasonSize = 300;

Api api;
std::atomic<int64_t> counts[kOutcomes];

struct LastCall {
  bool any;
  Outcome outcome;
  char reason[kReasonSize];
};
thread_local LastCall last_call;

void keep_reason(const char* reason) {
  std::snprintf(last_call.reason, kReasonSize, "%s", reason == nullptr ? "" : reason);
}

// True for success. An error's message is kept as the reason.
bool ok(Status* status) {
  if (status == nullptr) return true;
  keep_reason(api.error_message(status));
  api.release_status(status);
  return false;
}

bool has(Status* status) {
  if (status != nullptr) api.release_status(status);
  return status == nullptr;
}

struct Op : CustomOp {
  bool cuda;
  int type;
};

// A node of the model.
struct Node {
  bool cuda = false;
  int64_t heads = 0;
  int64_t causal = 0;  // ONNX Runtime's "unidirectional"
  float scale = 0;     // 0: 1 / sqrt(channels)
  int type = kUndefined;
  size_t inputs = 0, outputs = 0;
  void* own = nullptr;              // ONNX Runtime's kernel for the node
  char why_none[kReasonSize] = "";  // if it has none

  ~Node() {
    if (own != nullptr) api.release_op(own);
  }
};

struct Tensor {
  const void* value = nullptr;
  int type = kUndefined;
  size_t rank = 0;
  int64_t size[8] = {};
};

bool read(const void* value, Tensor* tensor) {
  void* shape = nullptr;
  if (!ok(api.shape(value, &shape))) return false;
  tensor->value = value;
  const bool read = ok(api.element_type(shape, &tensor->type)) && ok(api.rank(shape, &tensor->rank)) &&
                    tensor->rank <= 8 && ok(api.sizes(shape, tensor->size, tensor->rank));
  api.release_shape(shape);
  return read;
}

// ------------------------------------------------------------------------------------- ONNX Runtime's own kernel

// The node's attributes, as the kernel wants them.
class Attributes {
 public:
  Attributes(const Attributes&) = delete;
  explicit Attributes(const void* info) {
    for (const char* name : {"num_heads", "unidirectional"}) {
      int64_t value;
      if (has(api.int_attribute(info, name, &value))) add(name, &value, kInt);
    }
    for (const char* name : {"scale", "mask_filter_value"}) {
      float value;
      if (has(api.float_attribute(info, name, &value))) add(name, &value, kFloat);
    }
  }
  ~Attributes() {
    for (void* attribute : list_) api.release_attribute(attribute);
  }
  const void* const* data() const { return list_.data(); }
  int count() const { return static_cast<int>(list_.size()); }

 private:
  void add(const char* name, const void* value, int type) {
    void* attribute = nullptr;
    if (has(api.create_attribute(name, value, 1, type, &attribute))) list_.push_back(attribute);
  }
  std::vector<void*> list_;
};

// Newer versions constrain the type of the fourth output, too.
void find_own(const void* info, Node* node) {
  const Attributes attributes(info);
  const char* types[] = {"T", "QK"};
  const int values[] = {node->type, node->type};
  for (int constraints = 1; constraints <= 2 && node->own == nullptr; constraints++) {
    if (!ok(api.create_op(info, kName, kDomain, 1, types, values, constraints, attributes.data(), attributes.count(),
                          static_cast<int>(node->inputs), static_cast<int>(node->outputs), &node->own))) {
      node->own = nullptr;
    }
  }
  if (node->own == nullptr) std::memcpy(node->why_none, last_call.reason, kReasonSize);
}

int64_t channels_of(const Tensor& tensor, int64_t heads) {
  return tensor.rank == 3 ? tensor.size[2] / heads : tensor.size[tensor.rank - 1];
}

// The sizes of an output that isn't the first: keys, values, or scores.
void size_of_present(const Node& node, const Tensor in[kInputs], size_t index, int64_t size[4]) {
  const Tensor &q = in[0], &k = in[1].value == nullptr ? q : in[1], &v = in[2].value == nullptr ? k : in[2];
  const Tensor& past = in[kPastKey];
  int64_t keys = k.size[k.rank == 4 ? 2 : 1];
  if (past.value != nullptr) keys = in[kPastLength].value != nullptr ? past.size[2] : keys + past.size[2];
  size[0] = q.size[0];
  size[1] = node.heads;
  size[2] = index == 3 ? q.size[1] : keys;
  size[3] = index == 3 ? keys : channels_of(index == 2 ? v : k, node.heads);
}

Status* run_own(const Node& node, void* context, const Tensor in[kInputs], void* first_output) {
  if (node.own == nullptr) {
    char sentence[2 * kReasonSize];
    std::snprintf(sentence, sizeof sentence,
                  "attn4j doesn't serve this MultiHeadAttention, and ONNX Runtime has no kernel for it: %s",
                  node.why_none);
    return api.create_status(kFail, sentence);
  }
  const void* inputs[kInputs] = {};
  void* outputs[kOutputs] = {first_output};
  for (size_t i = 0; i < node.inputs; i++) inputs[i] = in[i].value;
  for (size_t i = 1; i < node.outputs; i++) {
    int64_t size[4];
    size_of_present(node, in, i, size);
    if (Status* status = api.output(context, i, size, 4, &outputs[i])) return status;
  }
  return api.invoke_op(context, node.own, inputs, static_cast<int>(node.inputs), outputs,
                       static_cast<int>(node.outputs));
}

// ------------------------------------------------------------------------------------------------------ our kernels

// Where query, key and value are: tensors of their own, or parts of one that is packed for each head.
struct Operand {
  const Tensor* tensor;
  int64_t part;
};

bool find_operands(const Tensor in[kInputs], Operand operands[3]) {
  const Tensor &q = in[0], &k = in[1], &v = in[2];
  for (int i = 0; i < 3; i++) operands[i] = {&in[i], 0};
  if (k.value == nullptr && v.value == nullptr) {  // (batch, length, heads, 3, channels)
    operands[1] = {&q, 1}, operands[2] = {&q, 2};
    return q.rank == 5 && q.size[3] == 3;
  }
  if (q.rank != 3 || k.value == nullptr) return false;
  if (v.value == nullptr) {  // (batch, length, heads, 2, channels)
    operands[2] = {&k, 1};
    return k.rank == 5 && k.size[3] == 2;
  }
  return (k.rank == 3 || k.rank == 4) && v.rank == k.rank;
}

// As (batch, head, length, channel): from (batch, length, heads * channels), (batch, heads, length, channels) or
// (batch, length, heads, parts, channels). False if the heads don't fit.
bool view(const Operand& operand, int64_t heads, attn4j::TensorView* view) {
  const Tensor& tensor = *operand.tensor;
  const int64_t* n = tensor.size;
  if (heads <= 0 || (tensor.rank == 3 ? n[2] % heads : n[tensor.rank == 4 ? 1 : 2] - heads) != 0) return false;
  const bool by_head = tensor.rank == 4;
  const int64_t channels = tensor.rank == 3 ? n[2] / heads : n[tensor.rank - 1];
  const int64_t parts = tensor.rank == 5 ? n[3] : 1, length = by_head ? n[2] : n[1];
  const int64_t size[4] = {n[0], heads, length, channels};
  const int64_t stride[4] = {heads * length * parts * channels, (by_head ? length : parts) * channels,
                             (by_head ? 1 : heads * parts) * channels, 1};
  std::memcpy(view->size, size, sizeof size);
  std::memcpy(view->stride, stride, sizeof stride);
  view->dtype = tensor.type == kBFloat16 ? attn4j::DType::kBFloat16 : attn4j::DType::kFloat16;
  void* data = nullptr;
  if (!ok(api.data(const_cast<void*>(tensor.value), &data))) return false;
  view->data = static_cast<char*>(data) + 2 * operand.part * channels;  // both types have two bytes
  return true;
}

// Fills a request for a call without bias, masks and past; otherwise says why not.
bool fill_request(const Node& node, const Tensor in[kInputs], const Tensor& output, attn4j::AttentionParams* params,
                  Outcome* why) {
  *why = Outcome::kMask;
  for (size_t i = 3; i < kInputs; i++) {
    if (in[i].value != nullptr) return false;
  }
  *why = Outcome::kRank;
  Operand operands[3];
  if (node.outputs != 1 || !find_operands(in, operands)) return false;
  *why = Outcome::kType;
  for (const Operand& operand : operands) {
    const int type = operand.tensor->type;
    if ((type != kFloat16 && type != kBFloat16) || type != in[0].type) return false;
  }
  *why = Outcome::kShape;
  attn4j::TensorView &q = params->q, &k = params->k, &v = params->v;
  if (!view(operands[0], node.heads, &q) || !view(operands[1], node.heads, &k) || !view(operands[2], node.heads, &v) ||
      !view({&output, 0}, node.heads, &params->o)) {
    return false;
  }
  if (k.size[0] != q.size[0] || v.size[0] != q.size[0] || k.size[2] != v.size[2]) return false;
  if (k.size[3] != q.size[3] || v.size[3] != q.size[3]) return false;
  if (q.size[0] == 0 || q.size[2] == 0 || k.size[2] == 0 || q.size[3] == 0) return false;
  params->is_causal = node.causal != 0;
  params->has_sm_scale = node.scale != 0;
  params->sm_scale = node.scale;
  return node.causal == 0 || q.size[2] == k.size[2];  // for other lengths, the two may mean different things
}

// Scratch memory of ONNX Runtime's allocator, for as long as the call takes the host. The arena hands it to whoever
// asks next, on any stream: calls on several streams at once are a limit (docs/onnxruntime.md).
class Scratch {
 public:
  Scratch(const void* context, const void* memory_info, int64_t bytes) {
    if (bytes == 0) return;
    if (!ok(api.allocator(context, memory_info, &allocator_))) allocator_ = nullptr;
    if (allocator_ != nullptr && !ok(api.allocate(allocator_, static_cast<size_t>(bytes), &data_))) data_ = nullptr;
    missing_ = data_ == nullptr;
  }
  Scratch(const Scratch&) = delete;
  ~Scratch() {
    if (data_ != nullptr) has(api.free(allocator_, data_));
    if (allocator_ != nullptr) api.release_allocator(allocator_);
  }
  bool missing() const { return missing_; }
  void* data() const { return data_; }

 private:
  void* allocator_ = nullptr;
  void* data_ = nullptr;
  bool missing_ = false;
};

bool run_ours(const Kernels& kernels, const Choice& choice, const void* context, const void* memory,
              const attn4j::AttentionParams& params, CUstream_st* stream) {
  const Scratch scratch(context, memory, choice.workspace_bytes);
  if (scratch.missing()) return false;
  attn4j::PlanAddresses addresses = addresses_of(params, choice);
  addresses.workspace.data = scratch.data();
  addresses.workspace.size = choice.workspace_bytes;
  if (kernels.run(choice.plan, addresses, stream) == attn4j::Status::kOk) return true;
  keep_reason(kernels.last_error());
  return false;
}

Outcome serve(const Node& node, const void* context, const Policy& policy, const Tensor in[kInputs],
              const Tensor& output) {
  Outcome why;
  attn4j::PlanRequest request;
  if (!fill_request(node, in, output, &request.attention, &why)) return why;
  int device = -1;
  const void* memory = nullptr;
  if (!ok(api.memory_info(in[0].value, &memory)) || (node.cuda && !ok(api.memory_id(memory, &device)))) {
    return Outcome::kDevice;
  }
  const Kernels* kernels = kernels_of(device);
  if (kernels == nullptr) return Outcome::kDevice;
  request.device = device;
  const attn4j::TensorView &q = request.attention.q, &k = request.attention.k;
  const Sizes sizes = {q.size[0], q.size[1], q.size[1], q.size[2], k.size[2], q.size[3]};
  void* current = nullptr;
  if (node.cuda && !ok(api.stream(context, &current))) return Outcome::kFailed;
  auto* stream = static_cast<CUstream_st*>(current);
  Choice choice;
  choose(*kernels, policy, sizes, stream, &request, &choice);
  keep_reason(choice.reason);
  if (!is_served(choice.outcome)) return choice.outcome;
  const bool done = run_ours(*kernels, choice, context, memory, request.attention, stream);
  return done ? choice.outcome : Outcome::kFailed;
}

// -------------------------------------------------------------------------------------------------- the operator

Status* create(const CustomOp* op, const void*, const void* info, void** kernel) {
  auto node = std::make_unique<Node>();
  node->cuda = static_cast<const Op*>(op)->cuda;
  if (Status* status = api.int_attribute(info, "num_heads", &node->heads)) return status;
  has(api.int_attribute(info, "unidirectional", &node->causal));
  has(api.float_attribute(info, "scale", &node->scale));
  if (Status* status = api.node_inputs(info, &node->inputs)) return status;
  if (Status* status = api.node_outputs(info, &node->outputs)) return status;
  if (node->inputs > kInputs || node->outputs > kOutputs) {
    return api.create_status(kFail, "this MultiHeadAttention has more inputs or outputs than attn4j knows");
  }
  void* type = nullptr;
  const void* shape = nullptr;
  if (Status* status = api.input_type(info, 0, &type)) return status;
  const bool read = ok(api.tensor_info(type, &shape)) && shape != nullptr && ok(api.element_type(shape, &node->type));
  api.release_type_info(type);
  if (!read) return api.create_status(kFail, "the query of a MultiHeadAttention is no tensor");
  find_own(info, node.get());
  *kernel = node.release();
  return nullptr;
}

// (batch, length, channels), as wide as value, which may differ from query.
Status* make_output(void* context, const Tensor in[kInputs], Tensor* output) {
  const Tensor &q = in[0], &v = in[2];
  *output = q;
  output->rank = 3;
  if (q.rank == 5) output->size[2] = q.size[2] * q.size[4];
  if (v.value != nullptr && v.rank == 3) output->size[2] = v.size[2];
  if (v.value != nullptr && v.rank == 4) output->size[2] = v.size[1] * v.size[3];
  void* value = nullptr;
  Status* status = api.output(context, 0, output->size, 3, &value);
  output->value = value;
  return status;
}

Status* compute(void* kernel, void* context) {
  const Node& node = *static_cast<const Node*>(kernel);
  last_call = {true, Outcome::kSwitchedOff, ""};
  Tensor in[kInputs];
  for (size_t i = 0; i < node.inputs; i++) {
    const void* value = nullptr;
    if (Status* status = api.input(context, i, &value)) return status;
    if (value != nullptr && !read(value, &in[i])) return api.create_status(kFail, last_call.reason);
  }
  Tensor output;
  if (Status* status = make_output(context, in, &output)) return status;
  const Policy* policy = policy_now();
  Outcome outcome = policy == nullptr ? Outcome::kSwitchedOff : serve(node, context, *policy, in, output);
  last_call.outcome = outcome;
  counts[static_cast<int>(outcome)].fetch_add(1, std::memory_order_relaxed);
  if (is_served(outcome)) return nullptr;
  if (policy != nullptr && (policy->asked & kAskPyTorch) == 0) {  // options that require a backend don't fall back
    char sentence[2 * kReasonSize];
    explain_last(sentence, sizeof sentence);
    return api.create_status(kFail, sentence);
  }
  return run_own(node, context, in, const_cast<void*>(output.value));
}

int none(const CustomOp*) { return 0; }
int optional(const CustomOp*, size_t index) { return index == 0 ? 0 : 1; }
int type(const CustomOp* op, size_t) { return static_cast<const Op*>(op)->type; }
int type_of_input(const CustomOp* op, size_t index) {
  return index == kPadding || index >= kPastLength ? kInt32 : type(op, index);
}

Op make(bool cuda, int elements) {
  Op op{};
  op.version = kVersion;
  op.name = [](const CustomOp*) { return kName; };
  op.provider = [](const CustomOp* self) {
    return static_cast<const Op*>(self)->cuda ? "CUDAExecutionProvider" : "CPUExecutionProvider";
  };
  op.type_of_input = type_of_input;
  op.inputs = [](const CustomOp*) { return kInputs; };
  op.type_of_output = type;
  op.outputs = [](const CustomOp*) { return kOutputs; };
  op.destroy = [](void* kernel) { delete static_cast<Node*>(kernel); };
  op.character_of_input = optional;
  op.character_of_output = optional;
  // ONNX Runtime's CUDA kernel reads this one on the host (OrtMemTypeCPUInput).
  op.memory_of_input = [](const CustomOp*, size_t i) { return i == kPastLength ? -2 : 0; };
  for (auto& variadic : op.variadic) variadic = none;
  op.create_kernel_v2 = create;
  op.compute_v2 = compute;
  op.cuda = cuda;
  op.type = elements;
  return op;
}

// The domain with our operators, one for all sessions. Without an API there is no way to say so: ONNX Runtime has
// written why.
struct Registered {
  const char* problem = nullptr;
  void* domain = nullptr;

  explicit Registered(const ApiBase* base) {
    static const Op ops[] = {make(false, kFloat32), make(false, kFloat16), make(false, kBFloat16),
                             make(true, kFloat32),  make(true, kFloat16),  make(true, kBFloat16)};
    if (!open(base, &api)) return;
    bool added = ok(api.create_domain(kDomain, &domain));
    for (const Op& op : ops) added = added && ok(api.domain_add(domain, &op));
    if (!added) problem = "attn4j's operators can't be registered with this ONNX Runtime";
  }
};

}  // namespace

void read_counts(int64_t out[kOutcomes]) {
  for (int i = 0; i < kOutcomes; i++) out[i] = counts[i].load(std::memory_order_relaxed);
}

void explain_last(char* sentence, size_t size) {
  sentence[0] = 0;
  if (!last_call.any) return;
  const char* own = sentence_of(last_call.outcome);
  if (last_call.outcome == Outcome::kMask) own = "the node has a bias, a mask or a past";
  if (last_call.outcome == Outcome::kRank) own = "the node has several outputs, or inputs in a form that isn't read";
  std::snprintf(sentence, size, "%s%s%s", own, last_call.reason[0] == 0 ? "" : ": ", last_call.reason);
}

}  // namespace attn4j_torch::ort

// What ONNX Runtime calls in a library of custom operators.
extern "C" __attribute__((visibility("default"))) attn4j_torch::ort::Status* RegisterCustomOps(
    void* session_options, const attn4j_torch::ort::ApiBase* base) {
  using namespace attn4j_torch::ort;
  static const Registered registered(base);
  if (registered.problem != nullptr) return api.create_status(kFail, registered.problem);
  return registered.domain == nullptr ? nullptr : api.add_domain(session_options, registered.domain);
}
