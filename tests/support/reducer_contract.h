// One body of tests of GradientReducer for every communicator. Each function plays one rank; it throws
// std::runtime_error where the sums are wrong. `device` is where parameters and gradients are.
#pragma once

#include <cstdint>

#include "comm/communicator.h"

namespace muster::contract {

// A small network over `rows` rows cut over the ranks and two chunks each, against plain autograd over all rows in
// double: a parameter used twice, an unused one, one whose gradient is given by hand, ranks without rows, several
// steps.
void reducer_equals_autograd(Communicator& communicator, int64_t rows, int64_t bucket_bytes,
                             at::Device device = at::kCPU);

// Two runs give the same bits.
void reducer_repeats_its_bits(Communicator& communicator, at::Device device = at::kCPU);

}  // namespace muster::contract
