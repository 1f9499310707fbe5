// What differs between architectures, as pure functions of the target. ATTN4J_SM (10 * major + minor) is set by the
// build for host and device passes alike.
#pragma once

#ifndef ATTN4J_SM
#error "ATTN4J_SM is not set: build through cppbuild.sh"
#endif

namespace attn4j::arch {

constexpr int kSm = ATTN4J_SM;

// Whether the build has Hopper's own kernels (wgmma). Those on mma.sync then have no costs: they run where Hopper's
// don't serve. Nobody has measured that they are faster anywhere on Hopper.
#ifdef ATTN4J_HOPPER_KERNELS
constexpr bool kHopperKernels = true;
#else
constexpr bool kHopperKernels = false;
#endif

// Shared memory one CTA may use, in bytes (CUDA programming guide, technical specifications per compute capability).
constexpr int smem_per_cta() {
  if (kSm == 80 || kSm == 87) return 163 * 1024;
  if (kSm >= 90 && kSm < 120) return 227 * 1024;
  return 99 * 1024;  // 8.6, 8.9, 12.x
}

// Shared memory of one SM, in bytes; each resident CTA also costs 1 KB.
constexpr int smem_per_sm() { return smem_per_cta() + 1024; }

// int32 -> fp32 runs on the slow special-function pipe on 8.0 and 8.7; adding a magic number runs at full rate.
constexpr bool kSlowIntToFloat = kSm == 80 || kSm == 87;

// Whether there are conversions to e4m3, and multiplies of it.
constexpr bool kHasE4m3 = kSm >= 89;

// ptxas keeps more addresses in registers on 12.x: what just fits elsewhere spills.
constexpr bool kFewRegisters = kSm >= 120;

}  // namespace attn4j::arch
