// Whether all ranks of a job were started alike.
#pragma once

#include <string>

#include "comm/communicator.h"

namespace muster {

// What a rank was started with.
struct Start {
  std::string config;     // resolved, text format
  std::string stores;     // fingerprint
  std::string run_dir;    // as given
  std::string arguments;  // the others that decide when ranks meet
};

// Collective, the first call of a job. ConfigError, on every rank, if the ranks run different programs (by a hash of
// the file that runs), or with another config, store, run folder or arguments: it names the ranks that differ from
// most, and what they have.
void check_same_start(const Start& start, Communicator& communicator);

}  // namespace muster
