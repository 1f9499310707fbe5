// Matrix multiplies of a warp, written from the PTX ISA's fragment layouts ("Matrix Fragments for mma.m16n8k16" and
// "...m16n8k32"). Products are exact, sums are made in fp64 and rounded once,
// but those of e4m3: fp8_sum.
#pragma once

#include <cstdint>

#include "machine.h"

namespace emulation {

// D = A B + C for a 16 x 8 tile; k is 16 for 16-bit elements, 32 for 8-bit ones. C and D are fp32, or s32 for kS8.
void mma_sync(MatrixType type, uint32_t (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
              const uint32_t (&c)[4]);
// The same with C and D in fp16, two to a register.
void mma_sync_f16_accumulator(MatrixType type, uint32_t (&d)[2], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                              const uint32_t (&c)[2]);

// Four 8x8 matrices of 16-bit elements; lane i gives the address of row i % 8 of matrix i / 8.
void ldmatrix_x4(uint32_t (&r)[4], uint32_t address, bool transposed);

// accumulator + the sum of a[k] b[k n] over 32 k as FP8 tensor cores make it: what Hopper's are known to do
// (docs/hopper.md, "Two levels"). The products and the accumulator are aligned to the largest of them, keep 13 bits
// behind its leading one, and are cut off towards zero.
float fp8_sum(const float* a, const float* b, int n, double accumulator);

float f16_to_float(uint16_t x);
float bf16_to_float(uint16_t x);
float e4m3_to_float(uint8_t x);
uint16_t float_to_f16(float x);
// Rounds to nearest even, saturates to 448; NaN stays NaN (PTX ISA, "cvt", .satfinite).
uint8_t float_to_e4m3(float x);

}  // namespace emulation
