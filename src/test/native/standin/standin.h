// What a test can ask the stand-in for CUDA.
#pragma once

#include <cstdint>
#include <vector>

#define STANDIN_API __attribute__((visibility("default")))

namespace standin {

STANDIN_API void set_multiprocessors(int32_t count);
void launch();
STANDIN_API int32_t take_launches();  // since the last question
STANDIN_API int32_t take_lookups();   // of addresses, since the last question

// What each head leaves out from now on. Selections report at once, or, while held, when they are told to finish.
STANDIN_API void set_shares(const std::vector<float>& shares);
STANDIN_API void hold(bool held);
STANDIN_API void finish();
STANDIN_API void capture(bool capturing);  // whether streams are being captured
void select(float* report, const uint64_t dense_heads[4]);

}  // namespace standin
