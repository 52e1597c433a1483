// Chooses the communicator of this process: local in a world of one, else MPI. Nothing else in Muster chooses.
#pragma once

#include <memory>

#include "comm/communicator.h"

namespace muster {

class CommConfig;
class Process;

std::unique_ptr<Communicator> make_communicator(const Process& process, const CommConfig& config);

}  // namespace muster
