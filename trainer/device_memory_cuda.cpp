#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <cuda_runtime_api.h>

#include <algorithm>

#include "trainer/device_memory.h"

namespace muster {
namespace {

using c10::CachingAllocator::StatType;

int64_t total_bytes(at::Device device) {
  const c10::cuda::CUDAGuard guard(device);
  size_t free = 0, total = 0;
  C10_CUDA_CHECK(cudaMemGetInfo(&free, &total));
  return static_cast<int64_t>(total);
}

int64_t peak_of(const c10::CachingAllocator::StatArray& statistics) {
  return statistics[static_cast<size_t>(StatType::AGGREGATE)].peak;
}

}  // namespace

DeviceMemory device_memory(at::Device device) {
  if (device.is_cpu()) return {};
  const auto statistics = c10::cuda::CUDACachingAllocator::getDeviceStats(device.index());
  return {peak_of(statistics.allocated_bytes), peak_of(statistics.reserved_bytes), total_bytes(device)};
}

void reset_peak_memory(at::Device device) {
  if (!device.is_cpu()) c10::cuda::CUDACachingAllocator::resetPeakStats(device.index());
}

void release_cached_memory(at::Device device) {
  if (!device.is_cpu()) c10::cuda::CUDACachingAllocator::emptyCache();
}

void limit_device_memory(at::Device device, int64_t bytes) {
  if (device.is_cpu()) return;
  const double share = static_cast<double>(bytes) / static_cast<double>(total_bytes(device));
  c10::cuda::CUDACachingAllocator::setMemoryFraction(std::min(1.0, share), device.index());
}

}  // namespace muster
