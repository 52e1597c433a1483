// The status board of this host's ranks.
#pragma once

#include <mpi.h>

#include <memory>

#include "comm/status_board.h"

namespace muster {

// Collective over `world`. The shared memory has no name any more when this returns, so that nothing is left behind.
// Where the host grants no shared memory, each rank gets a board of its own, with a warning.
std::unique_ptr<StatusBoard> make_host_board(MPI_Comm world);

}  // namespace muster
