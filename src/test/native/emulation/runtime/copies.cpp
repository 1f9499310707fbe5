// cp.async (PTX ISA, "cp.async"). A copy happens at some time between its issue and the wait for its group: the seed
// says when, and what lies in between is poison.
#include <cstring>

#include "runtime/cta.h"

namespace emulation {

void Cta::perform(const ThreadCopy& copy) {
  char* to = shared_pointer(copy.target, copy.bytes, copy.bytes, "cp.async");
  if (copy.source == nullptr) {
    std::memset(to, 0, copy.bytes);
  } else {
    std::memcpy(to, copy.source, copy.bytes);
  }
}

void Cta::copy_async(const ThreadCopy& copy) {
  if (reinterpret_cast<uintptr_t>(copy.source) % copy.bytes != 0) {
    fail("cp.async: source %p isn't a multiple of %u", copy.source, copy.bytes);
  }
  char* to = shared_pointer(copy.target, copy.bytes, copy.bytes, "cp.async");
  if (seed_ != 0 && toss()) {
    perform(copy);
    return;
  }
  std::memset(to, 0xff, copy.bytes);
  thread().open_copies.push_back(copy);
}

void Cta::commit_copies() {
  CtaThread& t = thread();
  t.copy_groups.push_back(std::move(t.open_copies));
  t.open_copies.clear();
}

void Cta::wait_copies(int pending) {
  CtaThread& t = thread();
  while (t.copy_groups.size() > static_cast<size_t>(pending)) {
    for (const ThreadCopy& copy : t.copy_groups.front()) perform(copy);
    t.copy_groups.pop_front();
  }
}

}  // namespace emulation
