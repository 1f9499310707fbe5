// Checks that count, for the tests over the stand-in.
#pragma once

#include <cstdio>
#include <string>

#include "attn4j/attn4j.h"

inline int checks = 0, failures = 0;

inline void expect(bool condition, const std::string& what) {
  checks++;
  if (condition) return;
  failures++;
  std::fprintf(stderr, "FAILED: %s (last_error: %s)\n", what.c_str(), attn4j::last_error());
}
