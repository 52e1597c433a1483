// Reductions in rank order: what makes the sums of every communicator the same bits.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "comm/communicator.h"

namespace muster {

// target[i] = sources[0][i] (op) sources[1][i] (op) ..., in this order, for `count` elements of `dtype`. 16-bit floats
// are added in float32 and rounded once. `target` may be one of the sources, but overlaps none of them otherwise.
void reduce_in_order(at::ScalarType dtype, ReduceOp op, const std::vector<const void*>& sources, void* target,
                     int64_t count);

}  // namespace muster
