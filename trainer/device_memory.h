// The memory of a GPU, as LibTorch's caching allocator hands it out. On a CPU nothing is known or done.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>

namespace muster {

struct DeviceMemory {
  int64_t peak_allocated = 0;  // bytes of tensors, the most since the start or reset_peak_memory()
  int64_t peak_reserved = 0;   // bytes taken from the GPU for them
  int64_t total = 0;           // bytes of the GPU
};

DeviceMemory device_memory(at::Device device);
void reset_peak_memory(at::Device device);

// Gives memory of tensors that are gone back to the GPU, so that it can be cut anew.
void release_cached_memory(at::Device device);

// From now on tensors beyond so many bytes are c10::OutOfMemoryError, as on a smaller GPU.
void limit_device_memory(at::Device device, int64_t bytes);

}  // namespace muster
