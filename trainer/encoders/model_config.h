// The sizes of a model.
#pragma once

#include "trainer/encoders/encoders.pb.h"

namespace muster {

// Fills in the preset's sizes and checks them. ConfigError naming each field that is missing or impossible.
ModelConfig resolve_model(const ModelConfig& config);

}  // namespace muster
