// The part of the test that is about the order of the Hopper path's quantisation: host code of a kernel's header.
#pragma once

#include "abi_sparse.h"

void test_schedule(Expect expect);
