#include "runtime/cta.h"

#include <link.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>

#include "runtime/settings.h"

__thread uint3 threadIdx, blockIdx;
__thread dim3 blockDim, gridDim;

namespace emulation {

__thread Thread* self = nullptr;

namespace {

__thread Cta* current_cta = nullptr;

char* map_memory(size_t bytes) {
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) {
    std::perror("emulation: mmap");
    std::abort();
  }
  return static_cast<char*>(p);
}

constexpr size_t kGuard = 4096;
constexpr size_t kSharedSpace = 256 * 1024;
// The 32-bit address of shared memory that kernels declare statically: this plus the distance from `anchor`.
constexpr uint32_t kStaticBase = 0x80000000u;
// Dynamic shared memory begins in the second KB of its window: the first belongs to the system (CUDA programming
// guide).
constexpr uint32_t kReserved = 1024;
thread_local char anchor;

}  // namespace

Cta* Cta::current() { return current_cta; }

Cta::Cta() : threads_(kMaxThreads) {
  stacks_ = map_memory(kMaxThreads * (kStackBytes + kGuard));
  for (int i = 0; i < kMaxThreads; i++) mprotect(stacks_ + i * (kStackBytes + kGuard), kGuard, PROT_NONE);
  char* space = map_memory(kSharedSpace + kGuard);
  shared_end_ = space + kSharedSpace;
  mprotect(shared_end_, kGuard, PROT_NONE);
}

Cta::~Cta() {
  munmap(stacks_, kMaxThreads * (kStackBytes + kGuard));
  munmap(shared_end_ - kSharedSpace, kSharedSpace + kGuard);
}

// -------------------------------------------------------------------------------------------------------- scheduling

void Cta::enter() {
  Cta& cta = *current();
  cta.launch_->body();
  cta.end_thread();
  std::abort();  // nobody goes on in a thread that ended
}

void Cta::prepare(const Launch& launch, uint64_t seed) {
  launch_ = &launch;
  seed_ = seed;
  random_.seed(static_cast<uint32_t>(seed ^ seed >> 32) ^ (index_.x * 2654435761u + index_.y * 40503u));
  count_ = alive_ = static_cast<int>(launch.threads.x * launch.threads.y * launch.threads.z);
  warps_.assign((count_ + 31) / 32, {});
  warpgroups_.assign((count_ + 127) / 128, {});
  for (Barrier& b : barriers_) b = {};
  mbarriers_.clear();
  engine_.clear();
  maps_.clear();
  multipliers_.clear();
  for (int i = 0; i < count_ / 128; i++) multipliers_.push_back(std::make_unique<Warpgroup>());
  ready_.clear();
  idle_turns_ = 0;
  shared_ = nullptr;
  std::memset(shared_end_ - kSharedSpace, 0xff, kSharedSpace);
  for (int i = 0; i < count_; i++) {
    CtaThread& t = threads_[i];
    t.index = {i % launch.threads.x, i / launch.threads.x % launch.threads.y, i / launch.threads.x / launch.threads.y};
    t.number = i, t.lane = i % 32, t.warp = i / 32;
    t.open_copies.clear();
    t.copy_groups.clear();
    t.fiber.prepare(stacks_ + i * (kStackBytes + kGuard) + kGuard, kStackBytes, &Cta::enter);
    wake(&t);
  }
}

void Cta::run(const Launch& launch, uint3 index, uint64_t seed) {
  index_ = index;
  current_cta = this;
  blockIdx = index, blockDim = launch.threads, gridDim = launch.ctas;
  prepare(launch, seed);
  work();
  self = nullptr;
}

CtaThread* Cta::next() {
  // Without a seed in the order in which they became ready.
  if (seed_ != 0) std::swap(ready_[random_() % ready_.size()], ready_.back());
  CtaThread* t = nullptr;
  if (seed_ != 0) {
    t = ready_.back();
    ready_.pop_back();
  } else {
    t = ready_.front();
    ready_.erase(ready_.begin());
  }
  return t;
}

void Cta::work() {
  while (alive_ > 0) {
    // Copies under way arrive at any time, at the latest when all wait.
    while (!engine_.empty() && (ready_.empty() || (seed_ != 0 && random_() % 16 == 0))) run_engine();
    if (ready_.empty()) fail_deadlocked();
    CtaThread* t = next();
    self = t;
    threadIdx = t->index;
    Fiber::switch_to(scheduler_, t->fiber);
  }
}

void Cta::wait(const Wait& what) {
  CtaThread& t = thread();
  t.state = State::kWaiting;
  t.waits = what;
  idle_turns_ = 0;
  Fiber::switch_to(t.fiber, scheduler_);
}

void Cta::wake(CtaThread* t) {
  t->state = State::kReady;
  ready_.push_back(t);
}

void Cta::yield() {
  CtaThread& t = thread();
  ready_.push_back(&t);
  t.waits = {Wait::kGlobalMemory, "", 0, 0};
  if (++idle_turns_ % 1024 == 0) {
    static __thread timespec since;
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (idle_turns_ == 1024) since = now;
    if (now.tv_sec - since.tv_sec > settings().patience_s) fail_deadlocked();
    sched_yield();
  }
  Fiber::switch_to(t.fiber, scheduler_);
}

void Cta::end_thread() {
  CtaThread& t = thread();
  while (!t.copy_groups.empty() || !t.open_copies.empty()) {
    commit_copies();
    wait_copies(0);
  }
  t.state = State::kEnded;
  alive_--;
  for (Barrier& b : barriers_) {
    if (!b.waiting.empty() && b.wanted == 0) complete(b);
  }
  Fiber::switch_to(t.fiber, scheduler_);
}

// ----------------------------------------------------------------------------------------------------------- meetings

bool Cta::meet_warp(const char* what, uint32_t mask, void* mine, void** slots) {
  CtaThread& t = thread();
  const uint32_t bit = 1u << t.lane;
  if ((mask & bit) == 0) fail("%s: lane %d isn't in its own mask %08x", what, t.lane, mask);
  std::vector<Meeting>& open = warps_[t.warp];
  size_t i = 0;
  while (i < open.size() && open[i].mask != mask) i++;
  if (i == open.size()) open.emplace_back(), open[i].what = what, open[i].mask = mask;
  Meeting& m = open[i];
  if (m.what != what && std::strcmp(m.what, what) != 0) {
    fail("%s meets %s: lanes of mask %08x are at different instructions", what, m.what, mask);
  }
  m.slots[t.lane] = mine;
  m.arrived |= bit;
  if (m.arrived != mask) {
    wait({Wait::kLanes, what, mask, 0});
    return false;
  }
  std::memcpy(slots, m.slots, 32 * sizeof(void*));
  open.erase(open.begin() + static_cast<long>(i));
  for (int lane = 0; lane < 32; lane++) {
    if ((mask >> lane & 1) && lane != t.lane) wake(&threads_[t.warp * 32 + lane]);
  }
  return true;
}

bool Cta::meet_warpgroup(const char* what, void* mine, void** slots) {
  CtaThread& t = thread();
  Meeting& m = warpgroups_[t.number / 128];
  if (m.count > 0 && std::strcmp(m.what, what) != 0) {
    fail("%s meets %s: threads of a warpgroup are at different instructions", what, m.what);
  }
  m.what = what;
  m.slots[t.number % 128] = mine;
  if (++m.count < 128) {
    wait({Wait::kWarpgroup, what, 0, 0});
    return false;
  }
  m.count = 0;
  std::memcpy(slots, m.slots, 128 * sizeof(void*));
  for (int i = 0; i < 128; i++) {
    CtaThread* other = &threads_[t.number / 128 * 128 + i];
    if (other != &t) wake(other);
  }
  return true;
}

// PTX ISA, "bar": a barrier that is complete starts anew.
bool Cta::complete(Barrier& b) {
  if (b.arrived < (b.wanted == 0 ? alive_ : b.wanted)) return false;
  b.result = b.any;
  b.any = false;
  b.arrived = b.wanted = 0;
  for (CtaThread* t : b.waiting) wake(t);
  b.waiting.clear();
  return true;
}

void Cta::arrive(Barrier& b, int id, int threads, bool mine) {
  if (id < 0 || id > 15) fail("barrier %d: there are 0 to 15", id);
  if (threads % 32 != 0) fail("barrier %d: %d threads aren't a multiple of 32", id, threads);
  if (b.arrived > 0 && b.wanted != threads) {
    fail("barrier %d: this thread expects %d threads, others %d", id, threads, b.wanted);
  }
  b.wanted = threads;
  b.arrived++;
  b.any |= mine;
}

bool Cta::barrier_sync(int id, int threads, bool mine) {
  Barrier& b = barriers_[id & 15];
  arrive(b, id, threads, mine);
  if (complete(b)) return b.result;
  b.waiting.push_back(&thread());
  wait({Wait::kBarrier, "", static_cast<uint32_t>(id), static_cast<uint32_t>(threads)});
  return b.result;
}

void Cta::barrier_arrive(int id, int threads) {
  Barrier& b = barriers_[id & 15];
  arrive(b, id, threads, false);
  complete(b);
}

// ------------------------------------------------------------------------------------------------------ shared memory

void* Cta::dynamic_shared(size_t alignment) {
  if (shared_ == nullptr) {
    uintptr_t start = (reinterpret_cast<uintptr_t>(shared_end_) - launch_->shared_bytes) & ~(alignment - 1);
    if (start % (2 * alignment) == 0) start -= alignment;
    shared_ = reinterpret_cast<char*>(start);
    shared_alignment_ = alignment;
  }
  if (alignment != shared_alignment_) fail("dynamic shared memory is declared with two alignments");
  return shared_;
}

uint32_t Cta::shared_address(const void* p) const {
  const char* c = static_cast<const char*>(p);
  if (c >= shared_end_ - kSharedSpace && c <= shared_end_) {
    const auto first = kReserved + static_cast<uint32_t>(reinterpret_cast<uintptr_t>(shared_) % kReserved);
    return first + static_cast<uint32_t>(c - shared_);
  }
  const int64_t distance = c - &anchor;
  if (distance < INT32_MIN || distance > INT32_MAX) fail("an address that isn't in shared memory is used as one");
  return kStaticBase + static_cast<uint32_t>(distance);
}

char* Cta::shared_pointer(uint32_t address, uint32_t bytes, uint32_t alignment, const char* what) const {
  if (address % alignment != 0) fail("%s: shared address %#x isn't a multiple of %u", what, address, alignment);
  const auto first = kReserved + static_cast<uint32_t>(reinterpret_cast<uintptr_t>(shared_) % kReserved);
  if (shared_ != nullptr && address >= first && address + bytes <= first + launch_->shared_bytes) {
    return shared_ + (address - first);
  }
  if (address < kSharedSpace) {
    fail("%s: %u bytes at shared address %#x; the dynamic shared memory is %#x to %#zx", what, bytes, address, first,
         first + launch_->shared_bytes);
  }
  return &anchor + static_cast<int32_t>(address - kStaticBase);
}

// ------------------------------------------------------------------------------------------------------------ reports

std::string Cta::name(const std::vector<int>& threads) const {
  std::string text = threads.size() == 1 ? "thread " : "threads ";
  for (size_t i = 0; i < threads.size();) {
    size_t j = i;
    while (j + 1 < threads.size() && threads[j + 1] == threads[j] + 1) j++;
    if (i > 0) text += ", ";
    text += std::to_string(threads[i]);
    if (j > i) text += ".." + std::to_string(threads[j]);
    i = j + 1;
  }
  return text;
}

std::string Cta::describe(const Wait& w) const {
  char text[160];
  switch (w.kind) {
    case Wait::kLanes:
      std::snprintf(text, sizeof text, "%s with lanes %08x", w.what, w.a);
      return text;
    case Wait::kWarpgroup:
      return std::string(w.what) + " with the warpgroup";
    case Wait::kBarrier: {
      const Barrier& b = barriers_[w.a & 15];
      std::snprintf(text, sizeof text, "barrier %u, where %d of %d threads are", w.a, b.arrived,
                    w.b == 0 ? alive_ : static_cast<int>(w.b));
      return text;
    }
    case Wait::kMbarrier: {
      const Mbarrier& b = mbarriers_.at(w.a);
      std::snprintf(text, sizeof text, "mbarrier %#x for parity %u: phase %u lacks %u of %u arrivals and %ld bytes",
                    w.a, w.b, b.phase, b.pending, b.expected, static_cast<long>(b.bytes));
      return text;
    }
    case Wait::kGlobalMemory:
      return "a value in global memory";
    default:
      return "no wait";
  }
}

std::string Cta::report() const {
  std::map<std::string, std::vector<int>> groups;
  for (int i = 0; i < count_; i++) {
    const CtaThread& t = threads_[i];
    groups[t.state == State::kEnded ? "has ended" : "waits at " + describe(t.waits)].push_back(i);
  }
  std::string text;
  for (const auto& [what, threads] : groups) text += "\n  " + name(threads) + ": " + what;
  return text;
}

std::string Cta::place() const {
  std::string text = kernel_name(launch_->kernel) + ", CTA " + std::to_string(index_.x);
  if (launch_->ctas.y > 1) text += "," + std::to_string(index_.y);
  if (self != nullptr) text += ", thread " + std::to_string(self->number);
  return text + ", seed " + std::to_string(seed_);
}

void Cta::fail_deadlocked() {
  self = nullptr;
  std::fprintf(stderr, "emulation: nobody can go on (%s):%s\n", place().c_str(), report().c_str());
  std::fflush(stderr);
  _exit(kFaultStatus);
}

// -------------------------------------------------------------------------------------------------------- machine.h

bool meet_warp(const char* what, uint32_t mask, void* mine, void** slots) {
  return current_cta->meet_warp(what, mask, mine, slots);
}
bool meet_warpgroup(const char* what, void* mine, void** slots) {
  return current_cta->meet_warpgroup(what, mine, slots);
}
bool barrier_sync(int id, int threads, bool mine) { return current_cta->barrier_sync(id, threads, mine); }
void barrier_arrive(int id, int threads) { current_cta->barrier_arrive(id, threads); }
void yield() { current_cta->yield(); }
void* dynamic_shared(size_t alignment) { return current_cta->dynamic_shared(alignment); }
uint32_t shared_address(const void* p) { return current_cta->shared_address(p); }
char* shared_pointer(uint32_t address, uint32_t bytes, uint32_t alignment, const char* what) {
  return current_cta->shared_pointer(address, bytes, alignment, what);
}
void mbarrier_init(uint32_t barrier, uint32_t arrivals) { current_cta->mbarrier_init(barrier, arrivals); }
void mbarrier_arrive(uint32_t barrier, uint32_t bytes) { current_cta->mbarrier_arrive(barrier, bytes); }
bool mbarrier_is_complete(uint32_t barrier, uint32_t parity) {
  return current_cta->mbarrier_is_complete(barrier, parity);
}
void mbarrier_wait(uint32_t barrier, uint32_t parity) { current_cta->mbarrier_wait(barrier, parity); }
void start_copy(const EngineCopy& copy) { current_cta->start_copy(copy); }
void wgmma(const WarpgroupMultiply& mine) { current_cta->wgmma(mine); }
void wgmma_fence() { current_cta->wgmma_fence(); }
void wgmma_commit() { current_cta->wgmma_commit(); }
void wgmma_wait(int pending) { current_cta->wgmma_wait(pending); }
void copy_async(const ThreadCopy& copy) { current_cta->copy_async(copy); }
void commit_copies() { current_cta->commit_copies(); }
void wait_copies(int pending) { current_cta->wait_copies(pending); }

}  // namespace emulation
