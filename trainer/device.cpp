#include "trainer/device.h"

#include <ATen/Context.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/ones.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <fmt/format.h>

#include <cstdlib>
#include <string>

#include "launch/error.h"
#include "launch/log.h"

namespace muster {
namespace {

// Empty where there are GPUs.
std::string why_no_gpu() {
  const auto& cuda = at::detail::getCUDAHooks();
  if (!cuda.hasCUDART()) return "this muster is built without CUDA";
  if (!cuda.hasCUDA()) return "CUDA finds no GPU: is there one, and its driver loaded (nvidia-smi)?";
  return "";
}

std::string first_line(const char* text) {
  const std::string all = text;
  return all.substr(0, all.find('\n'));
}

void try_out(at::Device device) {
  try {
    c10::impl::VirtualGuardImpl(at::kCUDA).setDevice(device);
    const at::Tensor sum = at::ones({2}, at::TensorOptions(device)).sum();
    if (sum.item<float>() == 2) return;
    throw ConfigError(fmt::format("GPU {} adds 1 and 1 to {}; take it out of CUDA_VISIBLE_DEVICES", device.index(),
                                  sum.item<float>()));
  } catch (const c10::Error& error) {
    throw ConfigError(
        fmt::format("GPU {} cannot be used by this LibTorch: {}; give a newer driver or another GPU by "
                    "CUDA_VISIBLE_DEVICES, or set train.device to CPU",
                    device.index(), first_line(error.what_without_backtrace())));
  }
}

}  // namespace

at::Device choose_device(TrainConfig::Device wanted, const Process& process) {
  if (wanted == TrainConfig::CPU) return at::kCPU;
  const std::string reason = why_no_gpu();
  if (!reason.empty()) {
    if (wanted == TrainConfig::CUDA) {
      throw ConfigError(
          fmt::format("train.device is CUDA, but {}; set it to CPU or AUTO, or build with cmake --preset "
                      "cuda and start where a GPU is",
                      reason));
    }
    if (at::detail::getCUDAHooks().hasCUDART() && process.rank() == 0) {
      log_info(fmt::format("computing on the CPU: {}", reason));
    }
    return at::kCPU;
  }
  const int count = at::detail::getCUDAHooks().deviceCount();
  const bool share = std::getenv("NCCL_HOSTID") != nullptr;
  if (process.local_size() > count && !share) {
    throw ConfigError(
        fmt::format("{} ranks were started on this host, which has {} GPUs: start one rank for each GPU, "
                    "or set train.device to CPU",
                    process.local_size(), count));
  }
  const at::Device device(at::kCUDA, static_cast<c10::DeviceIndex>(process.local_rank() % count));
  try_out(device);
  return device;
}

void synchronise(at::Device device) {
  if (!device.is_cpu()) c10::impl::VirtualGuardImpl(device.type()).synchronizeDevice(device.index());
}

}  // namespace muster
