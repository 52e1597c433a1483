// Chooses the communicator of this process: local in a world of one, else NCCL where `device` is a GPU, else MPI.
// Nothing else in Muster chooses.
#pragma once

#include <memory>

#include "comm/communicator.h"

namespace muster {

class CommConfig;
class Process;

// `device` is this rank's own; CPU tensors travel whatever it is. Throws ConfigError where there is no such GPU.
std::unique_ptr<Communicator> make_communicator(const Process& process, const CommConfig& config,
                                                at::Device device = at::kCPU);

}  // namespace muster
