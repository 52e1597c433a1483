// The models that make_model() chooses among.
#pragma once

#include <cstdint>
#include <memory>

#include "trainer/encoders/model.h"

namespace muster {

// Of resolved configs: without and with model.regions.
std::shared_ptr<Model> make_clip_model(const ModelConfig& config, uint64_t seed);
std::shared_ptr<Model> make_region_model(const ModelConfig& config, uint64_t seed);

}  // namespace muster
