// Reductions in rank order on a GPU: the same bits as rank_order_reduce.h on the CPU.
#pragma once

#include <c10/core/ScalarType.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "comm/communicator.h"

namespace muster {

// target[i] = rank 0's [i] (op) rank 1's [i] (op) ..., in this order, for `count` elements of `dtype` from each of
// `ranks` ranks, one rank's after the other in `parts`. 16-bit floats are added in float32 and rounded once. `target`
// is apart from `parts`. Both are on the current device, as is `stream`, on which it runs.
void reduce_in_order(c10::ScalarType dtype, ReduceOp op, const void* parts, int ranks, void* target, int64_t count,
                     cudaStream_t stream);

}  // namespace muster
