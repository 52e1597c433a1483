// Ranks as MPI processes, tensors on the CPU.
//
// MPI only moves bytes: sums are made here, in rank order (rank_order_reduce.h), so that they are the same bits on
// every rank and the same as the thread communicator's. A small all-reduce is an all-gather and a local sum; a large
// one is a reduce-scatter (an all-to-all and a local sum of one's own piece) and an all-gather: the traffic of a ring,
// without rounding 16-bit floats at every hop. Reductions need scratch memory of the size of their input.
#pragma once

#include <memory>

#include "comm/communicator.h"

namespace muster {

struct MpiOptions {
  bool checked = false;
  double first_timeout_s = 600;
  double timeout_s = 15;
  double tick_s = 1;  // of the watchdog
};

// Collective over all ranks; needs a Process with MPI, which must outlive it. Its own duplicates of MPI_COMM_WORLD keep
// its messages apart from any other's. A lost or late peer shows as CommError from wait(), or ends this process through
// the watchdog; then end the job with abort().
std::unique_ptr<Communicator> make_mpi_communicator(const MpiOptions& options);

}  // namespace muster
