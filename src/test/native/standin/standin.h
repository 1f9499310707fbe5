// What a test can ask the stand-in for CUDA.
#pragma once

#include <cstdint>

#define STANDIN_API __attribute__((visibility("default")))

namespace standin {

STANDIN_API void set_multiprocessors(int32_t count);
void launch();
STANDIN_API int32_t take_launches();  // since the last question
STANDIN_API int32_t take_lookups();   // of addresses, since the last question

}  // namespace standin
