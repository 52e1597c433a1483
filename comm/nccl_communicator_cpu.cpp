#include "comm/nccl_communicator.h"
#include "launch/error.h"

namespace muster {

std::unique_ptr<Communicator> make_nccl_communicator(std::unique_ptr<Communicator>, const NcclOptions& options) {
  throw ConfigError(options.device.str() +
                    ": this build has no CUDA; build with cmake --preset cuda, or stay on the CPU");
}

}  // namespace muster
