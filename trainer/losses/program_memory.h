// The arrays of tile programs on a device: sent together, and what the device wrote fetched together.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Scalar.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <type_traits>
#include <vector>

namespace muster {

// Arrays are known by their address on the host, which must not change before fetch(). One thread.
class ProgramMemory {
 public:
  explicit ProgramMemory(at::Device device) : device_(device) {}

  // An array that the device reads. Twice the same address is one array, of the larger count.
  template <typename T>
  void read(const T* host, int64_t count) {
    if (host == nullptr || count == 0) return;
    int64_t& bytes = inputs_[host];
    bytes = std::max(bytes, count * static_cast<int64_t>(sizeof(T)));
  }

  // An array of 8-byte numbers that the device starts with `start` in each place; fetch() writes them over the host's.
  // fetch() adds them to the host's instead if `add` (doubles only).
  template <typename T>
  void write(T* host, int64_t count, T start, bool add = false) {
    static_assert(std::is_same_v<T, double> || std::is_same_v<T, int64_t>);
    if (host == nullptr || count == 0) return;
    Results& results = std::is_same_v<T, double> ? numbers_ : indices_;
    results.arrays.push_back({host, count, results.count, start, add});
    results.count += count;
  }

  // All arrays are known.
  void send();

  // The address on the device; nullptr for an array without elements.
  template <typename T>
  T* on_device(T* host) const {
    return static_cast<T*>(const_cast<void*>(address(host)));
  }

  // Waits for the device.
  void fetch();

 private:
  struct Result {
    void* host;
    int64_t count;
    int64_t first;
    at::Scalar start;
    bool add;
  };
  struct Results {
    std::vector<Result> arrays;
    int64_t count = 0;
    at::Tensor memory;  // [count] on the device
  };

  const void* address(const void* host) const;
  static void start(Results& results, at::ScalarType dtype, at::Device device);

  at::Device device_;
  std::map<const void*, int64_t> inputs_;  // bytes
  at::Tensor input_memory_;
  std::map<const void*, const void*> addresses_;
  Results numbers_;
  Results indices_;
};

}  // namespace muster
