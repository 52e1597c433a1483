// What stands beside a published file: config.json (transformers), open_clip_config.json.
#pragma once

#include <string>

#include "trainer/encoders/encoders.pb.h"
#include "trainer/encoders/published_names.h"

namespace muster {

// Sets heads and activation of `model`, whose sizes are known, from the config beside the weights; false, and nothing,
// if there is none. DataError: no JSON, fields missing or impossible, a model that computes otherwise than CLIP.
bool read_published_config(const std::string& weights, NameStyle style, ModelConfig& model);

}  // namespace muster
