#include "comm/make_communicator.h"

#include "comm/comm.pb.h"
#include "comm/local_communicator.h"
#include "comm/mpi_communicator.h"
#include "launch/process.h"

namespace muster {

std::unique_ptr<Communicator> make_communicator(const Process& process, const CommConfig& config) {
  if (process.world_size() == 1) return std::make_unique<LocalCommunicator>(config.checked());
  MpiOptions options;
  options.checked = config.checked();
  options.first_timeout_s = config.first_timeout_s();
  options.timeout_s = config.timeout_s();
  return make_mpi_communicator(options);
}

}  // namespace muster
