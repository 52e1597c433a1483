// Weights to start from: train.init.
#pragma once

#include "configs/run.pb.h"
#include "dataloader/formats/safetensors.h"

namespace muster {

// Copies the weights that config.train().init() names, a run's or a published file's, into a model's and its
// objective's tensors; the objective's stay as they are but for a learnable scale or bias that a published file holds.
// Position tables are resized if that is asked for. Logs what was taken, resized and left out. ConfigError: no run or
// checkpoint there, no average in it though asked for, tables of another size that may not be resized, another model.
// DataError: as copy_tensors(), PublishedModel and copy_published().
void take_initial_weights(const RunConfig& config, const NamedTensors& into);

}  // namespace muster
