// Ranks as processes with a GPU each: GPU tensors travel by NCCL, CPU tensors by the communicator it is made over.
//
// NCCL only moves bytes: sums are made here, in rank order (reduce_in_order_cuda.h), so that they are the same bits as
// every other communicator's, whatever rings or trees NCCL chooses on this network. A small all-reduce is an all-gather
// and a local sum; a large one is an exchange of pieces, a local sum of one's own and an all-gather: the traffic of a
// ring. 16-bit floats travel as they are and are summed in float32. Reductions need scratch memory of the size of their
// input.
//
// Everything runs in order on one stream of its own. A call orders it after what the current stream has been given so
// far; Work::wait() orders the current stream after the call and never blocks the host; a Work that is destroyed does
// the same. test() is true once the GPU has finished. A trace shows when a call was started and ordered, not when the
// GPU did it.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "comm/communicator.h"

namespace muster {

struct NcclOptions {
  at::Device device = at::Device(at::kCUDA, 0);  // this rank's GPU
  bool checked = false;                          // compare each call over the ranks first, on the CPU
  double first_timeout_s = 600;
  double timeout_s = 15;
  double tick_s = 1;  // of the watchdog
};

// Collective over all ranks of MPI_COMM_WORLD, which `host`, an MPI communicator that is not checked, connects already:
// it carries NCCL's id, CPU tensors, barriers and abort(). Needs one GPU for each rank (NCCL_HOSTID hides from NCCL
// that ranks share one: for tests).
//
// An error of NCCL or a lost peer shows as CommError from the next call or wait(), or ends this process with exit code
// 76 and one line: a thread asks NCCL for errors, and the watchdog bounds each call as it does for MPI.
// Throws ConfigError where there is no such GPU, where the NCCL loaded is not the one compiled for, and in a build
// without CUDA.
std::unique_ptr<Communicator> make_nccl_communicator(std::unique_ptr<Communicator> host, const NcclOptions& options);

}  // namespace muster
