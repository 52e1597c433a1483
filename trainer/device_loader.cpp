#include "trainer/device_loader.h"

#include <c10/core/DeviceGuard.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <chrono>
#include <utility>
#include <vector>

#include "trainer/encoders/host_to_device.h"

namespace muster {
namespace {

// Those that the model wants on its device.
std::vector<at::Tensor*> large_tensors(Batch& batch) {
  if (batch.images.defined()) return {&batch.images};
  return {&batch.regions, &batch.boxes};
}

}  // namespace

DeviceLoader::DeviceLoader(Loader& loader, at::Device device, int64_t batches)
    : loader_(loader), device_(device), left_(batches) {
  if (device_.is_cpu()) return;
  copies_ = c10::impl::VirtualGuardImpl(device_.type()).getStreamFromGlobalPool(device_);
  fetch_ahead();
}

// On a thread of its own.
std::unique_ptr<DeviceLoader::Sent> DeviceLoader::fetch() {
  const c10::DeviceGuard on_device(device_);
  const c10::StreamGuard on_stream(*copies_);
  auto sent = std::make_unique<Sent>(Sent{loader_.next(), c10::Event(device_.type())});
  for (at::Tensor* tensor : large_tensors(sent->batch)) *tensor = host_to_device(*tensor, device_);
  sent->batch.tokens = sent->batch.tokens.pin_memory();
  sent->arrived.record(*copies_);
  return sent;
}

void DeviceLoader::fetch_ahead() {
  if (left_ == 0) return;
  --left_;
  ahead_ = std::async(std::launch::async, [this] { return fetch(); });
}

Batch DeviceLoader::next() {
  const auto began = std::chrono::steady_clock::now();
  std::unique_ptr<Sent> sent;
  Batch batch;
  if (!copies_ || !ahead_.valid()) {
    batch = loader_.next();
  } else {
    sent = ahead_.get();
  }
  waited_seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  if (!sent) return batch;
  fetch_ahead();
  const c10::Stream current = c10::impl::VirtualGuardImpl(device_.type()).getStream(device_);
  sent->arrived.block(current);
  for (const at::Tensor* tensor : large_tensors(sent->batch)) tensor->record_stream(current);
  return std::move(sent->batch);
}

}  // namespace muster
