// The GPU of a rank of a test: any number of ranks may share one.
#pragma once

#include <ATen/Context.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>

#include "comm/mpi_communicator.h"
#include "comm/nccl_communicator.h"
#include "tests/support/test_process.h"

namespace muster {

inline int gpu_count() {
  return at::detail::getCUDAHooks().getNumGPUs();
}

// Call it before NCCL's start. Where ranks share a GPU, each pretends to be a host of its own, since NCCL refuses two
// ranks on one GPU of a host: good for correctness, meaningless for speed.
inline at::Device gpu_of_this_rank() {
  const int rank = test_process().local_rank();
  if (test_process().local_size() > gpu_count()) {
    setenv("NCCL_HOSTID", ("rank" + std::to_string(rank)).c_str(), 1);
    for (const char* direct : {"NCCL_P2P_DISABLE", "NCCL_SHM_DISABLE", "NCCL_IB_DISABLE"}) setenv(direct, "1", 1);
    setenv("NCCL_SOCKET_IFNAME", "lo", 1);
  }
  return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(rank % gpu_count()));
}

inline std::unique_ptr<Communicator> nccl_communicator(bool checked, double timeout_s = 120, double tick_s = 1) {
  MpiOptions mpi;
  mpi.first_timeout_s = timeout_s;
  mpi.tick_s = tick_s;
  NcclOptions nccl;
  nccl.device = gpu_of_this_rank();
  nccl.checked = checked;
  nccl.first_timeout_s = timeout_s;
  nccl.tick_s = tick_s;
  return make_nccl_communicator(make_mpi_communicator(mpi), nccl);
}

// CTest reads this line as Skipped.
#define MUSTER_NEEDS_A_GPU() \
  if (gpu_count() == 0) GTEST_SKIP() << "Skipped: CUDA finds no GPU here"

}  // namespace muster
