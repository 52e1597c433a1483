// Weights of another run to start from: train.init.
#pragma once

#include "configs/run.pb.h"
#include "dataloader/formats/safetensors.h"

namespace muster {

// The model's tensors from config.train().init().run, in float32, without the objective's. Position tables are resized
// if that is asked for, one log line each. ConfigError: no run or checkpoint there, no average in it though asked for,
// tables of another size that may not be resized. Tensors of other shapes are left to be refused by whoever copies.
NamedTensors read_initial_weights(const RunConfig& config);

}  // namespace muster
