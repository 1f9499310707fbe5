// Packed sequences on the emulated GPU.
#pragma once

namespace emulation_test {

// Random cases of exact_attn against fp64, sequence by sequence: argv[2] of them, from seed argv[3] on; 0 if all hold.
int packed(int argc, char** argv);

}  // namespace emulation_test
