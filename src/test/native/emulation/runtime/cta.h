// One CTA at work: its threads, who waits for what, and its shared memory.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "machine.h"
#include "runtime/fiber.h"
#include "runtime/wgmma.h"

namespace emulation {

constexpr int kMaxThreads = 1024;
constexpr size_t kStackBytes = 256 * 1024;
constexpr size_t kMaxShared = 227 * 1024;

enum class State { kReady, kWaiting, kEnded };

// What a thread waits for, kept as numbers: sentences are made when somebody asks.
struct Wait {
  enum Kind { kNothing, kLanes, kWarpgroup, kBarrier, kMbarrier, kGlobalMemory } kind = kNothing;
  const char* what = "";
  uint32_t a = 0, b = 0;  // lanes; barrier and threads; address and parity
};

struct CtaThread : Thread {
  Fiber fiber;
  State state = State::kEnded;
  Wait waits;

  std::vector<ThreadCopy> open_copies;
  std::deque<std::vector<ThreadCopy>> copy_groups;
};

// Threads that are on their way to the same place.
struct Meeting {
  const char* what = nullptr;
  uint32_t mask = 0, arrived = 0;  // of lanes, or of the warps' first lanes
  int count = 0;
  void* slots[128];
};

struct TensorMap;

struct Barrier {
  int wanted = 0, arrived = 0;  // wanted 0: all that haven't ended
  bool any = false, result = false;
  std::vector<CtaThread*> waiting;
};

// PTX ISA, "Parallel Synchronization and Communication Instructions: mbarrier".
struct Mbarrier {
  uint32_t expected = 0, pending = 0;  // arrivals
  int64_t bytes = 0;                   // that copies still have to bring
  uint32_t phase = 0;                  // the one that isn't complete, counted from 0
  std::vector<CtaThread*> waiting;
};

// Memory for one CTA at a time.
class Cta {
 public:
  Cta();
  ~Cta();
  Cta(const Cta&) = delete;

  // Runs CTA `index` of a launch to its end.
  void run(const Launch& launch, uint3 index, uint64_t seed);

  CtaThread& thread() { return *static_cast<CtaThread*>(self); }
  // The running thread waits until somebody wakes it.
  void wait(const Wait& what);
  void wake(CtaThread* thread);
  // Lets all others run first.
  void yield();
  // A decision that a test's seed makes.
  bool toss() { return (random_() >> 20 & 1) != 0; }

  bool meet_warp(const char* what, uint32_t mask, void* mine, void** slots);
  bool meet_warpgroup(const char* what, void* mine, void** slots);
  bool barrier_sync(int id, int threads, bool mine);
  void barrier_arrive(int id, int threads);

  void* dynamic_shared(size_t alignment);
  uint32_t shared_address(const void* p) const;
  char* shared_pointer(uint32_t address, uint32_t bytes, uint32_t alignment, const char* what) const;

  void copy_async(const ThreadCopy& copy);
  void commit_copies();
  void wait_copies(int pending);

  void mbarrier_init(uint32_t address, uint32_t arrivals);
  // Arrives, once more bytes are announced.
  void mbarrier_arrive(uint32_t address, uint32_t bytes);
  bool mbarrier_is_complete(uint32_t address, uint32_t parity);
  void mbarrier_wait(uint32_t address, uint32_t parity);
  void start_copy(const EngineCopy& copy);

  void wgmma(const WarpgroupMultiply& mine);
  void wgmma_fence();
  void wgmma_commit();
  void wgmma_wait(int pending);

  // A sentence for each group of threads that wait for the same.
  std::string report() const;
  std::string place() const;

  static Cta* current();

 private:
  static void enter();
  void prepare(const Launch& launch, uint64_t seed);
  void work();
  CtaThread* next();
  void end_thread();
  [[noreturn]] void fail_deadlocked();
  Mbarrier& mbarrier(uint32_t address, const char* what);
  void complete(Mbarrier& b);
  void run_engine();
  std::string describe(const Wait& w) const;
  bool complete(Barrier& b);
  void arrive(Barrier& b, int id, int threads, bool mine);
  void perform(const ThreadCopy& copy);
  std::string name(const std::vector<int>& threads) const;

  const Launch* launch_ = nullptr;
  uint3 index_{};
  uint64_t seed_ = 0;
  std::mt19937 random_;
  std::vector<CtaThread> threads_;
  std::vector<CtaThread*> ready_;
  int count_ = 0, alive_ = 0;
  Fiber scheduler_;
  std::vector<std::vector<Meeting>> warps_;
  std::vector<Meeting> warpgroups_;
  Barrier barriers_[16];
  std::map<uint32_t, Mbarrier> mbarriers_;        // by address
  std::deque<EngineCopy> engine_;                 // copies under way
  std::vector<std::shared_ptr<TensorMap>> maps_;  // what they read
  std::vector<std::unique_ptr<Warpgroup>> multipliers_;
  char* stacks_ = nullptr;
  char* shared_end_ = nullptr;  // behind it lies memory that nobody may touch
  char* shared_ = nullptr;      // null until a thread asks
  size_t shared_alignment_ = 0;
  int64_t idle_turns_ = 0;
};

}  // namespace emulation
