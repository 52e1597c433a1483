// What the benchmarks of a GPU share: options, time until it is done, its matrix products and its memory.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "trainer/commands/stopwatch.h"

namespace CLI {
class App;
}

namespace muster {

// --memory-limit. In GiB; 0: none.
void add_memory_limit(CLI::App& command, double& gib);

// ConfigError on a CPU.
void limit_memory(at::Device device, double gib);

// Until the device is done.
Seconds device_time_of(at::Device device, const std::function<void()>& work);

struct NamedRate {
  std::string name;  // "float32"
  double flops = 0;  // a second
};

// Of large square products: in `dtype` on a CPU, in float32 and bfloat16 on a GPU.
std::vector<NamedRate> matrix_rates(at::Device device, at::ScalarType dtype);

// "  12.3 GFLOP/s  45.6 % of float32  7.8 % of bfloat16"
std::string rate_and_shares(double flops, const std::vector<NamedRate>& rates);

// "3.21 GiB of tensors at most, 3.50 GiB taken, of 79.10 GiB": since the start or reset_peak_memory(). Empty on a CPU.
std::string describe_device_memory(at::Device device);

}  // namespace muster
