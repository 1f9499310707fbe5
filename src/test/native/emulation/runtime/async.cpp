// mbarriers and the copy engine (PTX ISA, "mbarrier", "cp.async.bulk", "cp.async.bulk.tensor").
#include <cstring>

#include "runtime/cta.h"
#include "runtime/tensor_map.h"

namespace emulation {

// ---------------------------------------------------------------------------------------------------------- mbarriers

Mbarrier& Cta::mbarrier(uint32_t address, const char* what) {
  const auto found = mbarriers_.find(address);
  if (found == mbarriers_.end()) fail("%s: nobody initialised an mbarrier at %#x", what, address);
  return found->second;
}

void Cta::mbarrier_init(uint32_t address, uint32_t arrivals) {
  shared_pointer(address, 8, 8, "mbarrier.init");
  if (arrivals == 0 || arrivals >= 1u << 20) fail("mbarrier.init: %u arrivals; 1 to 2^20 - 1 are possible", arrivals);
  Mbarrier b;
  b.expected = b.pending = arrivals;
  mbarriers_[address] = b;
}

void Cta::complete(Mbarrier& b) {
  if (b.pending > 0 || b.bytes != 0) return;
  b.pending = b.expected;
  b.phase++;
  for (CtaThread* t : b.waiting) wake(t);
  b.waiting.clear();
}

void Cta::mbarrier_arrive(uint32_t address, uint32_t bytes) {
  Mbarrier& b = mbarrier(address, "mbarrier.arrive");
  if (b.pending == 0) fail("mbarrier %#x: more than %u arrivals in a phase", address, b.expected);
  b.bytes += bytes;
  b.pending--;
  complete(b);
}

bool Cta::mbarrier_is_complete(uint32_t address, uint32_t parity) {
  if (parity > 1) fail("mbarrier %#x: parity %u", address, parity);
  return (mbarrier(address, "mbarrier.try_wait").phase & 1) != parity;
}

void Cta::mbarrier_wait(uint32_t address, uint32_t parity) {
  while (!mbarrier_is_complete(address, parity)) {
    mbarriers_[address].waiting.push_back(&thread());
    wait({Wait::kMbarrier, "", address, parity});
  }
}

// --------------------------------------------------------------------------------------------------------- the engine

namespace {

uint32_t bytes_of(const EngineCopy& copy) {
  return copy.map != nullptr ? static_cast<const TensorMap*>(copy.map)->box_bytes() : copy.bytes;
}

}  // namespace

void Cta::start_copy(const EngineCopy& copy) {
  const uint32_t bytes = bytes_of(copy);
  const uint32_t alignment = copy.map != nullptr ? 128 : 16;
  if (bytes % 16 != 0 || reinterpret_cast<uintptr_t>(copy.source) % 16 != 0) {
    fail("cp.async.bulk: %u bytes from %p; both must be multiples of 16", bytes, copy.source);
  }
  if (copy.target % alignment != 0) fail("cp.async.bulk: target %#x isn't a multiple of %u", copy.target, alignment);
  mbarrier(copy.barrier, "cp.async.bulk");
  std::memset(shared_pointer(copy.target, bytes, 16, "cp.async.bulk"), 0xff, bytes);
  engine_.push_back(copy);
  if (copy.map != nullptr) {  // the map may be a parameter of a thread that ends before the copy
    auto kept = std::make_shared<TensorMap>(*static_cast<const TensorMap*>(copy.map));
    kept->check();
    engine_.back().map = kept.get();
    maps_.push_back(kept);
  }
}

void Cta::run_engine() {
  if (seed_ != 0) std::swap(engine_.front(), engine_[random_() % engine_.size()]);
  const EngineCopy copy = engine_.front();
  engine_.pop_front();
  const uint32_t bytes = bytes_of(copy);
  char* target = shared_pointer(copy.target, bytes, 16, "cp.async.bulk");
  if (copy.map != nullptr) {
    static_cast<const TensorMap*>(copy.map)->load_box(target, copy.target, copy.origin);
  } else {
    std::memcpy(target, copy.source, bytes);
  }
  Mbarrier& b = mbarrier(copy.barrier, "cp.async.bulk");
  b.bytes -= bytes;
  complete(b);
}

}  // namespace emulation
