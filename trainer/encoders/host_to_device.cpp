#include "trainer/encoders/host_to_device.h"

namespace muster {

at::Tensor host_to_device(const at::Tensor& host, at::Device device) {
  if (device.is_cpu() || !host.is_cpu()) return host;
  return (host.is_pinned() ? host : host.pin_memory()).to(device, /*non_blocking=*/true);
}

}  // namespace muster
