#include "runtime/tensor_map.h"

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstring>

#include "machine.h"

namespace emulation {

static_assert(sizeof(TensorMap) == sizeof(CUtensorMap));

void TensorMap::check() const {
  if (mark != kMark) fail("cp.async.bulk.tensor: what it is given is no tensor map");
  if (reinterpret_cast<uintptr_t>(this) % 64 != 0) fail("cp.async.bulk.tensor: the map isn't aligned to 64 bytes");
}

void TensorMap::load_box(char* target, uint32_t address, const int32_t (&origin)[4]) const {
  uint32_t offset = 0;
  for (uint32_t i = 0; i < box[1] * box[2] * box[3]; i++) {
    const int64_t at[4] = {origin[0], origin[1] + int64_t{i % box[1]}, origin[2] + int64_t{i / box[1] % box[2]},
                           origin[3] + int64_t{i / box[1] / box[2]}};
    bool inside = true;
    for (int n = 1; n < 4; n++) inside = inside && at[n] >= 0 && at[n] < static_cast<int64_t>(sizes[n]);
    const char* row = data + at[1] * static_cast<int64_t>(strides[0]) + at[2] * static_cast<int64_t>(strides[1]) +
                      at[3] * static_cast<int64_t>(strides[2]);
    for (uint32_t e = 0; e < box[0]; e++, offset += 2) {
      const int64_t channel = at[0] + e;
      char* to = target + (swizzled(address + offset, swizzle_bytes) - address);
      if (inside && channel >= 0 && channel < static_cast<int64_t>(sizes[0])) {
        std::memcpy(to, row + 2 * channel, 2);
      } else {
        std::memset(to, 0, 2);
      }
    }
  }
}

namespace {

CUresult encode(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank, void* data, const cuuint64_t* sizes,
                const cuuint64_t* strides, const cuuint32_t* box, const cuuint32_t* steps, CUtensorMapInterleave,
                CUtensorMapSwizzle swizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill fill) {
  const bool served = (type == CU_TENSOR_MAP_DATA_TYPE_FLOAT16 || type == CU_TENSOR_MAP_DATA_TYPE_BFLOAT16) &&
                      rank == 4 && fill == CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE &&
                      (swizzle == CU_TENSOR_MAP_SWIZZLE_128B || swizzle == CU_TENSOR_MAP_SWIZZLE_64B ||
                       swizzle == CU_TENSOR_MAP_SWIZZLE_NONE);
  if (!served || reinterpret_cast<uintptr_t>(data) % 16 != 0) return CUDA_ERROR_INVALID_VALUE;
  TensorMap m{};
  m.mark = TensorMap::kMark, m.data = static_cast<char*>(data), m.rank = rank;
  m.swizzle_bytes = swizzle == CU_TENSOR_MAP_SWIZZLE_128B ? 128 : swizzle == CU_TENSOR_MAP_SWIZZLE_64B ? 64 : 0;
  for (int i = 0; i < 4; i++) {
    if (sizes[i] == 0 || sizes[i] > uint64_t{1} << 32 || box[i] == 0 || box[i] > 256 || steps[i] != 1) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    m.sizes[i] = sizes[i], m.box[i] = box[i];
    if (i < 3 && (strides[i] % 16 != 0 || strides[i] >= uint64_t{1} << 40)) return CUDA_ERROR_INVALID_VALUE;
    if (i < 3) m.strides[i] = strides[i];
  }
  if (m.swizzle_bytes != 0 && 2 * m.box[0] > m.swizzle_bytes) return CUDA_ERROR_INVALID_VALUE;
  std::memcpy(map, &m, sizeof m);
  return CUDA_SUCCESS;
}

}  // namespace
}  // namespace emulation

extern "C" cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** function, unsigned,
                                                        unsigned long long, cudaDriverEntryPointQueryResult* found) {
  const bool known = std::strcmp(symbol, "cuTensorMapEncodeTiled") == 0;
  *function = known ? reinterpret_cast<void*>(&emulation::encode) : nullptr;
  if (found != nullptr) *found = known ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return cudaSuccess;
}
