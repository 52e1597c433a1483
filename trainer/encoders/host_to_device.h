// Small tensors of the host where a computation on another device needs them.
#pragma once

#include <ATen/core/Tensor.h>

namespace muster {

// The tensor itself on the CPU. On a GPU a copy that is ordered with the current stream and that the host does not wait
// for: it goes through pinned memory, as a copy from other memory would wait for all that the stream was given before.
at::Tensor host_to_device(const at::Tensor& host, at::Device device);

}  // namespace muster
