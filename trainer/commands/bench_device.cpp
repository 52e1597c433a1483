#include "trainer/commands/bench_device.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdint>

#include "launch/error.h"
#include "trainer/commands/matrix_rate.h"
#include "trainer/device.h"
#include "trainer/device_memory.h"

namespace muster {
namespace {

constexpr double kGib = 1 << 30;

}  // namespace

void add_memory_limit(CLI::App& command, double& gib) {
  command.add_option("--memory-limit", gib, "GiB of the GPU that may be taken, as of a smaller one; 0: all")
      ->check(CLI::Range(0.0, 1e6));
}

void limit_memory(at::Device device, double gib) {
  if (gib == 0) return;
  if (device.is_cpu()) throw ConfigError("--memory-limit is for a GPU, and this is computed on the CPU; leave it out");
  limit_device_memory(device, static_cast<int64_t>(gib * kGib));
}

Seconds device_time_of(at::Device device, const std::function<void()>& work) {
  synchronise(device);
  return time_of([&] {
    work();
    synchronise(device);
  });
}

std::vector<NamedRate> matrix_rates(at::Device device, at::ScalarType dtype) {
  std::vector<at::ScalarType> dtypes = {dtype};
  if (!device.is_cpu()) dtypes = {at::kFloat, at::kBFloat16};
  std::vector<NamedRate> rates;
  for (const at::ScalarType type : dtypes) {
    rates.push_back({type == at::kFloat ? "float32" : "bfloat16", matrix_rate(type, device)});
  }
  return rates;
}

std::string rate_and_shares(double flops, const std::vector<NamedRate>& rates) {
  std::string text = fmt::format("{:>10.1f} GFLOP/s", 1e-9 * flops);
  for (const NamedRate& rate : rates) text += fmt::format(" {:>7.1f} % of {}", 100 * flops / rate.flops, rate.name);
  return text;
}

std::string describe_device_memory(at::Device device) {
  if (device.is_cpu()) return "";
  const DeviceMemory memory = device_memory(device);
  const auto gib = [](int64_t bytes) { return static_cast<double>(bytes) / kGib; };
  return fmt::format("{:.2f} GiB of tensors at most, {:.2f} GiB taken, of {:.2f} GiB", gib(memory.peak_allocated),
                     gib(memory.peak_reserved), gib(memory.total));
}

}  // namespace muster
