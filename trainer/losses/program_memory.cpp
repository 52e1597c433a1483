#include "trainer/losses/program_memory.h"

#include <ATen/ops/empty.h>

#include <cstring>

namespace muster {
namespace {

constexpr int64_t kAlignment = 16;

int64_t aligned(int64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

}  // namespace

void ProgramMemory::start(Results& results, at::ScalarType dtype, at::Device device) {
  results.memory = at::empty({results.count}, at::TensorOptions(device).dtype(dtype));
  for (const Result& array : results.arrays) results.memory.narrow(0, array.first, array.count).fill_(array.start);
}

void ProgramMemory::send() {
  int64_t bytes = 0;
  for (const auto& [host, size] : inputs_) bytes += aligned(size);
  const auto options = at::TensorOptions(at::kByte).pinned_memory(device_.is_cuda());
  const at::Tensor image = at::empty({bytes}, options);
  int64_t offset = 0;
  for (const auto& [host, size] : inputs_) {
    std::memcpy(image.data_ptr<uint8_t>() + offset, host, static_cast<size_t>(size));
    offset += aligned(size);
  }
  input_memory_ = image.to(device_, /*non_blocking=*/true);
  offset = 0;
  for (const auto& [host, size] : inputs_) {
    addresses_[host] = input_memory_.data_ptr<uint8_t>() + offset;
    offset += aligned(size);
  }
  start(numbers_, at::kDouble, device_);
  start(indices_, at::kLong, device_);
  for (const Result& array : numbers_.arrays) {
    addresses_[array.host] = numbers_.memory.data_ptr<double>() + array.first;
  }
  for (const Result& array : indices_.arrays) {
    addresses_[array.host] = indices_.memory.data_ptr<int64_t>() + array.first;
  }
}

const void* ProgramMemory::address(const void* host) const {
  const auto found = addresses_.find(host);
  return found == addresses_.end() ? nullptr : found->second;
}

void ProgramMemory::fetch() {
  const at::Tensor numbers = numbers_.memory.cpu(), indices = indices_.memory.cpu();
  for (const Result& array : numbers_.arrays) {
    const double* from = numbers.const_data_ptr<double>() + array.first;
    auto* to = static_cast<double*>(array.host);
    for (int64_t i = 0; i < array.count; ++i) to[i] = array.add ? to[i] + from[i] : from[i];
  }
  for (const Result& array : indices_.arrays) {
    const int64_t* from = indices.const_data_ptr<int64_t>() + array.first;
    std::memcpy(array.host, from, static_cast<size_t>(array.count) * sizeof(int64_t));
  }
}

}  // namespace muster
