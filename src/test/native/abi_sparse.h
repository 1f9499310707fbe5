// The part of the ABI test that is about sparse.h.
#pragma once

#include <string>

using Expect = void (*)(bool condition, const std::string& what);

void test_sparse(Expect expect);
