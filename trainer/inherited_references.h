// References of another run to begin with: references.init RUN.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "dataloader/training_stores.h"
#include "trainer/references/reference_bank.h"

namespace muster {

// Found by rank 0, known to all.
struct InheritedReferences {
  std::string path;                  // of the file, "" on other ranks
  std::vector<int64_t> identity_of;  // of each of its rows: the identity here, or -1
  std::vector<int64_t> without;      // identities here that it has no row for, ascending
};

// Matches the newest checkpoint of `run_dir` with the bank by the identities' names, and logs one line: how many begin
// as there, appear and vanish, with a few names. Collective. ConfigError: no run, no checkpoint, no references or other
// ones (width, without names). DataError: damaged.
InheritedReferences find_inherited_references(const std::string& run_dir, const ReferenceBank& bank,
                                              const TrainingStores& stores, Communicator& communicator);

// Their rows into the bank, which take over neither moments nor step counts. Collective.
void take_inherited_references(const InheritedReferences& inherited, ReferenceBank& bank, Communicator& communicator);

}  // namespace muster
