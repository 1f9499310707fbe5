// Launches: CTAs, spread over a fixed number of OS threads, the emulated GPU's multiprocessors.
#include <cuda_runtime_api.h>
#include <cxxabi.h>
#include <dlfcn.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "runtime/cta.h"
#include "runtime/settings.h"

namespace emulation {
namespace {

int number_from(const char* name, int otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::atoi(text) : otherwise;
}

// An access to memory that isn't there, such as behind an allocation.
void on_fault(int, siginfo_t* info, void*) {
  const Cta* cta = Cta::current();
  std::fprintf(stderr, "emulation: touches %p, where nothing is (%s)\n", info->si_addr,
               cta != nullptr ? cta->place().c_str() : "on the host");
  std::fflush(stderr);
  _exit(kFaultStatus);
}

// Faults of this OS thread are told on a stack of their own: a fiber's may be what ran over.
void tell_faults() {
  static thread_local char stack[64 * 1024];
  stack_t alternative = {};
  alternative.ss_sp = stack, alternative.ss_size = sizeof stack;
  sigaltstack(&alternative, nullptr);
  struct sigaction action = {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGSEGV, &action, nullptr);
  sigaction(SIGBUS, &action, nullptr);
}

// OS threads that wait for launches.
class Gpu {
 public:
  explicit Gpu(int multiprocessors) {
    for (int i = 0; i < multiprocessors; i++) workers_.emplace_back([this] { serve(); });
  }
  ~Gpu() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stop_ = true;
    }
    changed_.notify_all();
    for (std::thread& t : workers_) t.join();
  }

  void run(const Launch& launch) {
    std::unique_lock<std::mutex> lock(mutex_);
    launch_ = &launch;
    next_ = 0;
    busy_ = static_cast<int>(workers_.size());
    round_++;
    changed_.notify_all();
    changed_.wait(lock, [&] { return busy_ == 0; });
  }

 private:
  void serve() {
    tell_faults();
    Cta cta;
    int64_t served = 0;
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
      changed_.wait(lock, [&] { return stop_ || round_ != served; });
      if (stop_) return;
      served = round_;
      const Launch& launch = *launch_;
      lock.unlock();
      work(cta, launch);
      lock.lock();
      if (--busy_ == 0) changed_.notify_all();
    }
  }

  void work(Cta& cta, const Launch& launch) {
    const int64_t all = int64_t{launch.ctas.x} * launch.ctas.y * launch.ctas.z;
    for (int64_t i = next_++; i < all; i = next_++) {
      const auto x = static_cast<unsigned>(i % launch.ctas.x);
      const auto y = static_cast<unsigned>(i / launch.ctas.x % launch.ctas.y);
      cta.run(launch, {x, y, static_cast<unsigned>(i / launch.ctas.x / launch.ctas.y)}, settings().seed);
    }
  }

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable changed_;
  const Launch* launch_ = nullptr;
  std::atomic<int64_t> next_{0};
  int64_t round_ = 0;
  int busy_ = 0;
  bool stop_ = false;
};

std::map<const void*, size_t>& shared_limits() {
  static std::map<const void*, size_t> limits;
  return limits;
}

}  // namespace

Settings& settings() {
  static Settings s{static_cast<uint64_t>(number_from("ATTN4J_EMULATION_SEED", 0)),
                    number_from("ATTN4J_EMULATION_SMS", Settings().multiprocessors),
                    number_from("ATTN4J_EMULATION_BUSY_SMS", Settings().busy_multiprocessors),
                    number_from("ATTN4J_EMULATION_FP8_BITS", Settings().fp8_bits), Settings().patience_s};
  return s;
}

std::string kernel_name(const void* kernel) {
  Dl_info info;
  if (dladdr(const_cast<void*>(kernel), &info) == 0 || info.dli_sname == nullptr) return "a kernel";
  int status = 0;
  char* text = abi::__cxa_demangle(info.dli_sname, nullptr, nullptr, &status);
  const std::string name = status == 0 ? text : info.dli_sname;
  std::free(text);
  const size_t end = name.find('(');
  const std::string full = name.substr(name.compare(0, 5, "void ") == 0 ? 5 : 0, end);
  return full.size() > 160 ? full.substr(0, 160) + "..." : full;
}

void fail(const char* format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  const Cta* cta = Cta::current();
  std::fprintf(stderr, "emulation: %s (%s)\n", text, cta != nullptr ? cta->place().c_str() : "on the host");
  std::fflush(stderr);
  _exit(kFaultStatus);
}

void allow_shared_memory(const void* kernel, int bytes) { shared_limits()[kernel] = static_cast<size_t>(bytes); }

int run(const Launch& launch) {
  const auto found = shared_limits().find(launch.kernel);
  const size_t most = found != shared_limits().end() ? found->second : 48 * 1024;
  const size_t threads = size_t{launch.threads.x} * launch.threads.y * launch.threads.z;
  if (launch.shared_bytes > most || most > kMaxShared || threads == 0 || threads > kMaxThreads || launch.ctas.x == 0) {
    std::fprintf(stderr, "emulation: %s can't be launched with %u CTAs of %zu threads and %zu bytes, %zu allowed\n",
                 kernel_name(launch.kernel).c_str(), launch.ctas.x, threads, launch.shared_bytes, most);
    return cudaErrorInvalidValue;
  }
  static Gpu gpu(std::max(1, settings().multiprocessors - settings().busy_multiprocessors));
  gpu.run(launch);
  return cudaSuccess;
}

}  // namespace emulation
