// What a C++ program sees of libattn4j.so without a GPU: versions, workspace sizes, and a sentence for every mistake.
// Addresses are made up: none of these calls may read device memory.
#include <cmath>
#include <cstdio>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "abi_sparse.h"
#include "attn4j/attn4j.h"
#include "attn4j/device.h"
#include "schedule.h"

using attn4j::AttentionParams;
using attn4j::DType;
using attn4j::Status;
using attn4j::TensorLayout;
using attn4j::TensorView;
using attn4j::Workspace;

namespace {

int checks = 0;
int failures = 0;

void expect(bool condition, const std::string& what) {
  ++checks;
  if (!condition) {
    ++failures;
    std::fprintf(stderr, "FAILED: %s (last_error: %s)\n", what.c_str(), attn4j::last_error());
  }
}

void expect_mentions(const std::string& text, const std::string& what) {
  expect(std::string(attn4j::last_error()).find(text) != std::string::npos, what + " should mention '" + text + "'");
}

struct Sizes {
  int64_t batch = 2, heads = 8, rows = 1000, head_dim = 128;
};

TensorView view(uintptr_t address, const Sizes& s, TensorLayout layout) {
  TensorView t;
  t.data = reinterpret_cast<void*>(address);
  const bool hnd = layout == TensorLayout::kHND;
  const int64_t sizes[4] = {s.batch, hnd ? s.heads : s.rows, hnd ? s.rows : s.heads, s.head_dim};
  int64_t stride = 1;
  for (int i = 3; i >= 0; --i) {
    t.size[i] = sizes[i];
    t.stride[i] = stride;
    stride *= sizes[i];
  }
  return t;
}

AttentionParams request(const Sizes& q, const Sizes& kv, TensorLayout layout = TensorLayout::kHND) {
  AttentionParams p;
  p.tensor_layout = layout;
  p.q = view(0x10000000, q, layout);
  p.k = view(0x20000000, kv, layout);
  p.v = view(0x30000000, kv, layout);
  p.o = view(0x40000000, q, layout);
  return p;
}

AttentionParams good() { return request({}, {2, 2, 1500, 128}); }

bool is_error(int64_t size, Status status) { return size == -static_cast<int64_t>(status); }

void test_identity() {
  expect(attn4j::abi_version() == ATTN4J_ABI_VERSION, "the header and the library have one ABI version");
  expect(std::string(attn4j::arch_list()).size() >= 2, "arch_list names an architecture");
  expect(std::string(attn4j::kernel_list()).find('\n') != std::string::npos, "kernel_list has lines");
}

void test_workspace_sizes() {
  const int64_t size = attn4j::sageattn_workspace_size(good());
  expect(size >= 0, "a good request has a workspace size");
  expect(size == attn4j::sageattn_workspace_size(good()), "the size is the same every time");
  const AttentionParams nhd = request({}, {2, 2, 1500, 128}, TensorLayout::kNHD);
  expect(size == attn4j::sageattn_workspace_size(nhd), "the size doesn't depend on the layout");
  const AttentionParams longer = request({}, {2, 2, 3000, 128});
  // sageattn may take the exact kernel, which needs none.
  expect(attn4j::sageattn_qk_int8_pv_fp16_cuda_workspace_size(longer) >
             attn4j::sageattn_qk_int8_pv_fp16_cuda_workspace_size(good()),
         "more keys need more space");
  // 16 heads of 8 tiles of queries, on 264 streams of an assumed GPU: two parts of each, in fp32.
  constexpr int64_t kCopies = int64_t{2} * 2 * 1500 * 128 * 8, kParts = int64_t{16} * 8 * 2 * 128 * (128 + 2) * 4;
  expect(size < kCopies + kParts, "the space is that of a few copies of K, and of parts");
  for (const int64_t head_dim : {8, 40, 64, 72, 80, 96, 112, 128}) {
    for (const DType dtype : {DType::kFloat16, DType::kBFloat16}) {
      AttentionParams p = request({1, 4, 65, head_dim}, {1, 4, 129, head_dim});
      p.q.dtype = p.k.dtype = p.v.dtype = p.o.dtype = dtype;
      const std::string name = "head_dim " + std::to_string(head_dim);
      expect(attn4j::sageattn_workspace_size(p) >= 0, "sageattn, " + name);
      expect(attn4j::sageattn_qk_int8_pv_fp16_cuda_workspace_size(p) >= 0, "int8 + fp16, " + name);
      expect(attn4j::exact_attn_workspace_size(p) >= 0, "exact, " + name);
    }
  }
  const AttentionParams wide = request({1, 4, 65, 256}, {1, 4, 129, 256});
  expect(attn4j::exact_attn_workspace_size(wide) >= 0, "exact_attn serves head_dim 256");
  expect(is_error(attn4j::sageattn_qk_int8_pv_fp16_cuda_workspace_size(wide), Status::kUnsupported),
         "the quantised kernel doesn't serve head_dim 256");
  expect_mentions("head_dim", "an unsupported head_dim");
  const AttentionParams no_keys = request({1, 4, 65, 64}, {1, 4, 0, 64});
  expect(attn4j::sageattn_workspace_size(no_keys) >= 0, "no keys at all is a valid request");
}

// Batch times heads may be anything that a grid's first dimension takes.
void test_many_heads() {
  const auto sizes = {attn4j::sageattn_workspace_size, attn4j::sageattn_qk_int8_pv_fp16_cuda_workspace_size,
                      attn4j::exact_attn_workspace_size};
  constexpr int64_t kMost = 0x7fffffff;
  for (const auto size : sizes) {
    for (const int64_t batch : {int64_t{9216}, kMost / 8}) {
      const Sizes temporal{batch, 8, 16, 40};  // AnimateDiff: 16 frames, a row of the batch for each pixel
      expect(size(request(temporal, temporal)) >= 0, std::to_string(8 * batch) + " heads in all");
    }
    const Sizes most{1, kMost, 1, 8}, more{2, kMost / 2 + 1, 1, 8};
    expect(size(request(most, most)) >= 0, "2^31 - 1 heads");
    expect(is_error(size(request(more, more)), Status::kUnsupported), "2^31 heads");
    expect_mentions("batch * heads is 2147483648", "2^31 heads");
    const Sizes blocks{1, kMost, 1000, 8};
    expect(is_error(size(request(blocks, {1, kMost, 16, 8})), Status::kUnsupported), "too many blocks of queries");
    expect_mentions("blocks of", "too many blocks of queries");
  }
  attn4j::KMeanParams mean;
  mean.k = view(0x20000000, {9216, 8, 16, 40}, TensorLayout::kHND);
  expect(attn4j::k_mean_workspace_size(mean) >= 0, "k_mean of 73728 heads");
  mean.k = view(0x20000000, {2, kMost, 16, 40}, TensorLayout::kHND);
  expect(is_error(attn4j::k_mean_workspace_size(mean), Status::kUnsupported), "k_mean of 2^32 heads");
}

void test_kernel_choice() {
  const AttentionParams p = good();
  const char* kernel = attn4j::sageattn_kernel(p);
  expect(kernel != nullptr, "a good request has a kernel");
  if (kernel != nullptr) {
    expect(std::string(attn4j::kernel_list()).find(kernel) != std::string::npos, "the kernel is in the list");
  }
  AttentionParams bad = p;
  bad.q.data = nullptr;
  expect(attn4j::sageattn_kernel(bad) == nullptr, "a bad request has no kernel");
  expect_mentions("q", "a request without a kernel");
  const bool hopper = std::string(attn4j::arch_list()).find("90a") != std::string::npos;
  const int64_t fp8 = attn4j::sageattn_qk_int8_pv_fp8_cuda_sm90_workspace_size(p);
  if (!hopper) expect(is_error(fp8, Status::kUnsupported), "the Hopper kernel is in sm90 builds alone");
}

struct Mistake {
  const char* what;
  const char* mentioned;
  std::function<void(AttentionParams&)> make;
};

const std::vector<Mistake>& mistakes() {
  static const std::vector<Mistake> kMistakes = {
      {"null q", "q", [](AttentionParams& p) { p.q.data = nullptr; }},
      {"null o", "o", [](AttentionParams& p) { p.o.data = nullptr; }},
      {"odd address", "k", [](AttentionParams& p) { p.k.data = reinterpret_cast<void*>(0x20000001); }},
      {"negative size", "-3", [](AttentionParams& p) { p.k.size[2] = -3; }},
      {"negative stride", "stride[1]", [](AttentionParams& p) { p.v.stride[1] = -128; }},
      {"strided channels", "stride[3]", [](AttentionParams& p) { p.q.stride[3] = 2; }},
      {"dtype mix", "dtype", [](AttentionParams& p) { p.v.dtype = DType::kBFloat16; }},
      {"unknown dtype", "7", [](AttentionParams& p) { p.q.dtype = static_cast<DType>(7); }},
      {"unknown layout", "tensor_layout", [](AttentionParams& p) { p.tensor_layout = static_cast<TensorLayout>(5); }},
      {"batch mismatch", "batch", [](AttentionParams& p) { p.k.size[0] = 3; }},
      {"head_dim mismatch", "head_dim", [](AttentionParams& p) { p.k.size[3] = 64; }},
      {"k and v differ in length", "1499", [](AttentionParams& p) { p.v.size[2] = 1499; }},
      {"q and o differ", "o", [](AttentionParams& p) { p.o.size[2] = 999; }},
      {"heads no multiple", "multiple", [](AttentionParams& p) { p.k.size[1] = p.v.size[1] = 3; }},
      {"scale not finite", "sm_scale", [](AttentionParams& p) { p.has_sm_scale = true, p.sm_scale = std::nanf(""); }},
      {"output over input", "overlap", [](AttentionParams& p) { p.o.data = p.q.data; }},
      {"broadcast output", "broadcast", [](AttentionParams& p) { p.o.stride[0] = 0; }},
  };
  return kMistakes;
}

void test_mistakes() {
  for (const Mistake& mistake : mistakes()) {
    AttentionParams p = good();
    mistake.make(p);
    for (const auto size : {attn4j::sageattn_workspace_size, attn4j::exact_attn_workspace_size}) {
      expect(is_error(size(p), Status::kInvalidArgument), mistake.what);
      expect_mentions(mistake.mentioned, mistake.what);
    }
    expect(attn4j::sageattn(p, {}, nullptr) == Status::kInvalidArgument, std::string(mistake.what) + " in the call");
  }
}

void test_calls_without_memory() {
  const int64_t size = attn4j::sageattn_workspace_size(good());
  if (size > 0) {
    expect(attn4j::sageattn(good(), {}, nullptr) == Status::kWorkspaceTooSmall, "no workspace");
    expect_mentions(std::to_string(size), "a missing workspace");
    const Workspace crooked{reinterpret_cast<void*>(0x50000010), size};
    expect(attn4j::sageattn(good(), crooked, nullptr) == Status::kInvalidArgument, "a workspace that is not aligned");
    expect_mentions("256", "a workspace that is not aligned");
  }
  const Workspace workspace{reinterpret_cast<void*>(0x50000000), size};
  expect(attn4j::sageattn(good(), workspace, nullptr) != Status::kOk, "addresses that are not device memory");
  expect(std::string(attn4j::last_error()).size() > 10, "a sentence about them");
}

void test_quantisation_pieces() {
  attn4j::KMeanParams mean;
  mean.k = good().k;
  expect(attn4j::k_mean_workspace_size(mean) >= 0, "k_mean has a workspace size");
  mean.k.size[2] = -1;
  expect(is_error(attn4j::k_mean_workspace_size(mean), Status::kInvalidArgument), "k_mean, negative size");
  expect(attn4j::k_mean(mean, {}, nullptr) == Status::kInvalidArgument, "k_mean, negative size in the call");
  attn4j::QuantInt8Params quant;
  quant.x = good().q;
  expect(attn4j::quant_int8(quant, nullptr) == Status::kInvalidArgument, "quant_int8 without outputs");
  expect_mentions("values", "quant_int8 without outputs");
}

void test_merge() {
  attn4j::MergeAttnStateParams p;
  p.part = good().q;
  const auto refused = [&](const char* word) {
    expect(attn4j::merge_attn_state(p, nullptr) == Status::kInvalidArgument, std::string("merge without ") + word);
    expect_mentions(word, "merge");
  };
  refused("part_lse");
  p.part_lse = reinterpret_cast<void*>(0x50000000);
  refused("acc:");
  p.acc = reinterpret_cast<void*>(0x60000000);
  refused("acc_lse:");
  p.acc_lse = reinterpret_cast<void*>(0x70000000);
  refused("acc: stride[0]");
  for (int i = 0; i < 4; i++) p.acc_stride[i] = p.part.stride[i];
  refused("acc_lse: stride[0]");
  p.acc_lse_stride[0] = 8 * 1000, p.acc_lse_stride[1] = 999;
  refused("acc_lse: stride[1] is 999; at least the 1000 rows");
  p.acc_lse_stride[1] = 1000;
  p.o = view(0x80000000, {2, 8, 1000, 64}, TensorLayout::kHND);
  refused("o: size[3] is 64 but part has 128");
  p.o = p.part;
  refused("o: shares its address");
  p.o = view(0x80000000, {}, TensorLayout::kHND);
  p.o.dtype = DType::kBFloat16;
  refused("o: dtype is 1");
  p.part.size[3] = 257;
  expect(attn4j::merge_attn_state(p, nullptr) == Status::kUnsupported, "merge of head_dim 257");
  p.part.size[2] = 0;
  expect(attn4j::merge_attn_state(p, nullptr) == Status::kOk, "no rows, nothing to merge");
}

void test_errors_are_per_thread() {
  AttentionParams p = good();
  p.q.data = nullptr;
  attn4j::sageattn_workspace_size(p);
  const std::string mine = attn4j::last_error();
  std::thread([] {
    AttentionParams other = good();
    other.has_sm_scale = true;
    other.sm_scale = INFINITY;
    attn4j::sageattn_workspace_size(other);
    expect_mentions("sm_scale", "the other thread's mistake");
  }).join();
  expect(mine == attn4j::last_error(), "another thread leaves this thread's sentence alone");
}

void test_device_calls() {
  const int32_t devices = attn4j::device_count();
  if (devices > 0) {
    expect(attn4j::device_compute_capability(0) >= 50, "a device has a compute capability");
    expect(attn4j::device_free(nullptr) == Status::kOk, "freeing null is fine");
  } else {
    expect(std::string(attn4j::last_error()).size() > 10 || devices == 0, "no device has a reason");
    expect(attn4j::device_malloc(256, 0) == nullptr, "no memory without a device");
    expect(attn4j::stream_create(0) == nullptr, "no stream without a device");
  }
  expect(attn4j::device_malloc(-1, 0) == nullptr, "negative bytes");
  expect(attn4j::device_compute_capability(-1) < 0, "there is no device -1");
}

}  // namespace

int main() {
  test_identity();
  test_workspace_sizes();
  test_many_heads();
  test_kernel_choice();
  test_mistakes();
  test_calls_without_memory();
  test_quantisation_pieces();
  test_merge();
  test_sparse(expect);
  test_schedule(expect);
  test_errors_are_per_thread();
  test_device_calls();
  std::printf("C++ ABI test, library for %s: %d checks, %d failed\n", attn4j::arch_list(), checks, failures);
  return failures == 0 ? 0 : 1;
}
