// The rate that everything else is measured against.
#pragma once

#include <ATen/core/Tensor.h>

namespace muster {

// FLOP a second of large square products by LibTorch on this process's threads (at::get_num_threads()) or device, the
// best of several in about half a second: what a machine gives, not what its data sheet says.
double matrix_rate(at::ScalarType dtype = at::kFloat, at::Device device = at::kCPU);

}  // namespace muster
