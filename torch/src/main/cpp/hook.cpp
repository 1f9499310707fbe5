#include "hook.h"

#include <atomic>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <stdexcept>

namespace attn4j_torch {
namespace {

constexpr int kMaxDevices = 64;
constexpr size_t kReasonSize = 200;

TorchAbi torch;
std::atomic<const Kernels*> kernels_of_device[kMaxDevices];
std::atomic<const Kernels*> kernels_of_cpu{nullptr};
std::atomic<const Policy*> process_policy{nullptr};
std::atomic<bool> enabled{true};
std::atomic<int64_t> counts[kOutcomes];
std::atomic<void (*)(Outcome, const char*)> listener{nullptr};

struct LastCall {
  bool any;
  Outcome outcome;
  Sizes sizes;  // zeros if the tensors were not read
  char reason[kReasonSize];
};

// Plain data, so that nothing has to run when a thread ends.
thread_local const Policy* scope_policy = nullptr;
thread_local bool passing = false;
thread_local LastCall last_call;

const Kernels* kernels_for(const Geometry& g) {
  if (g.device_type == torch.cuda()) return g.device >= 0 ? kernels_of(g.device) : nullptr;
  return g.device_type == torch.cpu() ? kernels_of(-1) : nullptr;
}

// A program that leaves one of PyTorch's kernels enabled asks for it by name; one that leaves none wants PyTorch's
// error.
bool asks_for_one_of_pytorchs() {
  const void* context = torch.context();
  int left = torch.flash_enabled(context) + torch.efficient_enabled(context) + torch.cudnn_enabled(context) +
             torch.math_enabled(context);
  return left <= 1;
}

void keep_reason(const char* reason) {
  size_t length = reason == nullptr ? 0 : strnlen(reason, kReasonSize - 1);
  if (length > 0) std::memcpy(last_call.reason, reason, length);
  last_call.reason[length] = 0;
}

void add_reason(const char* more) {
  const size_t used = strnlen(last_call.reason, kReasonSize - 1);
  std::snprintf(last_call.reason + used, kReasonSize - used, "%s%s", used > 0 ? "; " : "", more);
}

// Runs what was chosen, with scratch memory of PyTorch's allocator: it goes back as soon as the kernels are enqueued,
// and the allocator hands it out again on the same stream alone. During a capture it comes from the graph's pool.
bool run_chosen(const Kernels& kernels, const Choice& choice, const Geometry& g, const attn4j::AttentionParams& params,
                CUstream_st* stream) {
  Owned scratch(torch);
  attn4j::PlanAddresses addresses = addresses_of(params, choice);
  if (choice.workspace_bytes > 0) {
    int64_t one = 1;
    if (torch.empty_strided(1, &choice.workspace_bytes, &one, torch.uint8(), g.device_type, g.device, scratch.out()) !=
        0) {
      keep_reason("there is no memory for the workspace");
      return false;
    }
    torch.data_ptr(scratch.get(), &addresses.workspace.data);
    addresses.workspace.size = choice.workspace_bytes;
  }
  if (kernels.run(choice.plan, addresses, stream) == attn4j::Status::kOk) return true;
  keep_reason(kernels.last_error());
  return false;
}

// Serves the call into `result`, or says why not.
Outcome serve(const Call& call, const Policy& policy, Owned* result) {
  Geometry g;
  Outcome why;
  if (!read_call(torch, call, policy.exact_by_name != 0, &g, &why)) return why;
  last_call.sizes = g.sizes;
  const Kernels* kernels = kernels_for(g);
  if (kernels == nullptr) return Outcome::kDevice;
  if (asks_for_one_of_pytorchs()) return Outcome::kSdpaBackends;
  Operand o;
  if (!allocate_output(torch, g, &o, result->out())) {
    keep_reason("there is no memory for the output");
    return Outcome::kFailed;
  }
  attn4j::PlanRequest request;
  fill_request(torch, call, g, o, result->get(), &request.attention);
  request.device = g.device_type == torch.cuda() ? g.device : -1;
  void* stream = nullptr;
  if (g.device_type == torch.cuda() && !torch.current_stream(g.device, &stream)) {
    keep_reason("libtorch gave no current stream");
    return Outcome::kFailed;
  }
  Choice choice;
  choose(*kernels, policy, g.sizes, static_cast<CUstream_st*>(stream), &request, &choice);
  keep_reason(choice.reason);
  if (choice.site_refused)
    add_reason("what calls like this one leave out doesn't pay; SparsityDecisions has the figures");
  if (!is_served(choice.outcome)) return choice.outcome;
  return run_chosen(*kernels, choice, g, request.attention, static_cast<CUstream_st*>(stream)) ? choice.outcome
                                                                                               : Outcome::kFailed;
}

// PyTorch's own kernel. Throws what PyTorch throws, through our frames.
Handle original(const Call& call) {
  std::optional<TensorSlot> mask;
  if (call.mask.get() != nullptr) mask.emplace(call.mask.slot());
  Owned result(torch);
  torch.new_undefined(result.out());  // counts nothing, so that its pointer may be written over
  TensorSlot own = torch.original(call.q.slot(), call.k.slot(), call.v.slot(), mask, call.dropout, call.causal,
                                  call.scale, call.gqa);
  static_cast<TensorSlot*>(result.get())->impl = own.impl;
  return result.release();
}

Outcome decide(const Call& call, Owned* result) {
  last_call.any = true;
  last_call.sizes = {};
  last_call.reason[0] = 0;
  if (passing) return Outcome::kPassed;
  const Policy* policy = policy_now();
  if (policy == nullptr) return Outcome::kSwitchedOff;
  Outcome outcome = serve(call, *policy, result);
  // As everywhere in attn4j, options that require a backend don't fall back.
  if (!is_served(outcome) && (policy->asked & kAskPyTorch) == 0) {
    last_call.outcome = outcome;
    char sentence[2 * kReasonSize];
    explain_last(sentence, sizeof sentence);
    throw std::runtime_error(sentence);
  }
  return outcome;
}

void kernel(Word* stack, uint64_t inputs, uint64_t outputs) {
  if (inputs != kInputs || outputs != 1) {
    throw std::runtime_error("attn4j: this libtorch's scaled_dot_product_attention has other arguments than are known");
  }
  Call call(torch, stack);
  Owned result(torch);
  Outcome outcome = decide(call, &result);
  last_call.outcome = outcome;
  if (counts[static_cast<int>(outcome)].fetch_add(1, std::memory_order_relaxed) == 0) {
    if (auto* listening = listener.load(std::memory_order_acquire)) {
      char sentence[2 * kReasonSize];
      explain_last(sentence, sizeof sentence);
      listening(outcome, sentence);
    }
  }
  stack[0] = reinterpret_cast<Word>(is_served(outcome) ? result.release() : original(call));
}

// In the autograd slot as well as in the backend's: with the backend's alone PyTorch's composite kernel would vanish
// from the other, and gradients with it. In inference mode the autograd slot isn't looked at.
bool register_for(const char* key) {
  void* library = nullptr;  // never freed: that would deregister
  if (torch.library_init_impl("aten", key, "attn4j-torch", 1, &library) != 0) return false;
  constexpr uint64_t kWrittenFor = (uint64_t{2} << 56) | (uint64_t{10} << 48);  // how 2.10 lays out the stack
  Error error = torch.library_impl_versioned != nullptr
                    ? torch.library_impl_versioned(library, "scaled_dot_product_attention", kernel, kWrittenFor)
                    : torch.library_impl(library, "scaled_dot_product_attention", kernel);
  return error == 0;
}

}  // namespace

const char* install(Devices devices) {
  static std::mutex lock;
  static bool opened = false;
  static bool installed[2] = {false, false};
  static char problem[1024];
  std::lock_guard<std::mutex> guard(lock);
  if (!opened) {
    if (!torch.open(problem, sizeof problem)) return problem;
    opened = true;
  }
  bool& done = installed[static_cast<int>(devices)];
  if (done) return nullptr;
  bool cuda = devices == Devices::kCuda;
  if (!register_for(cuda ? "AutogradCUDA" : "AutogradCPU") || !register_for(cuda ? "CUDA" : "CPU")) {
    return "libtorch refused to register a kernel for scaled_dot_product_attention";
  }
  done = true;
  return nullptr;
}

bool torch_is_loaded() {
  TorchAbi unused;
  char problem[1024];
  return unused.open(problem, sizeof problem) || std::strcmp(problem, "libtorch is not loaded in this process") != 0;
}

void set_kernels(int32_t device, const Kernels& kernels) {
  const Kernels* kept = new Kernels(kernels);  // a call may be reading the one before
  if (device < 0) {
    kernels_of_cpu.store(kept, std::memory_order_release);
  } else if (device < kMaxDevices) {
    kernels_of_device[device].store(kept, std::memory_order_release);
  }
}

const Kernels* kernels_of(int32_t device) {
  if (device < 0) return kernels_of_cpu.load(std::memory_order_acquire);
  return device < kMaxDevices ? kernels_of_device[device].load(std::memory_order_acquire) : nullptr;
}

const Policy* policy_now() {
  if (!enabled.load(std::memory_order_relaxed)) return nullptr;
  return scope_policy != nullptr ? scope_policy : process_policy.load(std::memory_order_acquire);
}

void set_policy(const Policy& policy) {
  process_policy.store(new Policy(policy), std::memory_order_release);  // a call may be reading the one before
}

const Policy* enter_scope(const Policy& policy) {
  const Policy* before = scope_policy;
  scope_policy = new Policy(policy);
  return before;
}

void leave_scope(const Policy* before) {
  delete scope_policy;
  scope_policy = before;
}

bool set_passing(bool value) {
  bool before = passing;
  passing = value;
  return before;
}

void set_enabled(bool value) { enabled.store(value, std::memory_order_relaxed); }
bool is_enabled() { return enabled.load(std::memory_order_relaxed); }

void read_counts(int64_t out[kOutcomes]) {
  for (int i = 0; i < kOutcomes; i++) out[i] = counts[i].load(std::memory_order_relaxed);
}

void explain_last(char* sentence, size_t size) {
  sentence[0] = 0;
  if (!last_call.any) return;
  const Sizes& s = last_call.sizes;
  int used = std::snprintf(sentence, size, "%s%s%s", sentence_of(last_call.outcome),
                           last_call.reason[0] == 0 ? "" : ": ", last_call.reason);
  if (used > 0 && static_cast<size_t>(used) < size && s.batch > 0) {
    std::snprintf(
        sentence + used, size - used, " (batch %lld, heads %lld and %lld, %lld queries, %lld keys, %lld channels)",
        static_cast<long long>(s.batch), static_cast<long long>(s.heads), static_cast<long long>(s.heads_kv),
        static_cast<long long>(s.queries), static_cast<long long>(s.keys), static_cast<long long>(s.head_dim));
  }
}

void set_listener(void (*value)(Outcome, const char*)) { listener.store(value, std::memory_order_release); }

}  // namespace attn4j_torch
