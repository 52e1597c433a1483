#pragma once

#include "configs/run.pb.h"
#include "launch/checks.h"

namespace muster {

// What `data` of a resolved config asks for, by itself and beside the model and train.
void check_data(const RunConfig& config, Checks& checks);

}  // namespace muster
