// The bank on disk: references.safetensors, one logical matrix with the identity of each row, whoever wrote it.
//
//   rows, exp_avg, exp_avg_sq  [m, width]   unit rows and Adam's moments
//   identity, step             [m] int64    whose row it is, updates done
//   slot                       [m] int64    which of the identity's rows it is, if there are several
//   mean.image, mean.text      [width]      running means of unit features over training
//   mean.updates               [1] int64
//   name.bytes, name.offsets   whose rows they are, by name (trainer/reference_names.h)
#pragma once

#include <string>

#include "comm/communicator.h"
#include "dataloader/formats/safetensors.h"
#include "trainer/references/reference_bank.h"

namespace muster {

// All of a replicated bank, sharing memory: what a checkpoint copies. `names`: as the file has them.
NamedTensors reference_tensors(const ReferenceBank& bank, const NamedTensors& names);

// For a sharded bank, whose rows no rank has in one place: rank 0 makes the file, then every rank writes its own rows,
// from memory as they are. Collective, on a folder that all ranks see. DataError: it cannot be written.
void write_references(const std::string& path, const ReferenceBank& bank, const NamedTensors& names,
                      Communicator& communicator);

// Rank 0 reads `path` in blocks and sends them to all; each rank takes its rows, by identity. Collective. Returns how
// many rows of the bank were found. ConfigError, on every rank: another width. DataError: damaged.
int64_t read_references(const std::string& path, ReferenceBank& bank, Communicator& communicator);

}  // namespace muster
