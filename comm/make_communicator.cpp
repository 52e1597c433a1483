#include "comm/make_communicator.h"

#include "comm/comm.pb.h"
#include "comm/local_communicator.h"
#include "comm/mpi_communicator.h"
#include "comm/nccl_communicator.h"
#include "launch/process.h"

namespace muster {

std::unique_ptr<Communicator> make_communicator(const Process& process, const CommConfig& config, at::Device device) {
  if (process.world_size() == 1) return std::make_unique<LocalCommunicator>(config.checked());
  MpiOptions mpi;
  mpi.checked = config.checked() && device.is_cpu();
  mpi.first_timeout_s = config.first_timeout_s();
  mpi.timeout_s = config.timeout_s();
  std::unique_ptr<Communicator> host = make_mpi_communicator(mpi);
  if (device.is_cpu()) return host;
  NcclOptions nccl;
  nccl.device = device;
  nccl.checked = config.checked();
  nccl.first_timeout_s = config.first_timeout_s();
  nccl.timeout_s = config.timeout_s();
  return make_nccl_communicator(std::move(host), nccl);
}

}  // namespace muster
