// For functions of headers that host compilers read too.
#pragma once

#ifdef __CUDACC__
#define ATTN4J_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define ATTN4J_HOST_DEVICE inline
#endif
