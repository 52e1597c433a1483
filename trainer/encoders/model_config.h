// The sizes of a model.
#pragma once

#include <cstdint>
#include <string>

#include "trainer/encoders/encoders.pb.h"

namespace muster {

// Fills in the preset's sizes and checks them. ConfigError naming each field that is missing or impossible.
ModelConfig resolve_model(const ModelConfig& config);

// A model of regions that resolve_model() takes, for what is said of the rest of a config whose own it does not.
ModelConfig possible_region_model(const ModelConfig& config);

// Whether the model gives a second pair of features, "selected" (model.token_selection).
inline bool selects_tokens(const ModelConfig& config) {
  return config.token_selection().width() > 0;
}

// Whether it is a model of regions, which gives a pair with sets of rows, and that pair's name.
inline bool has_sets(const ModelConfig& config) {
  return config.regions().width() > 0;
}
inline constexpr char kSetPair[] = "alignment";

// Of its parameters' names.
inline constexpr char kSelectionPrefix[] = "selection.";

// Of a row of a pair of the model's features; 0: it gives no such pair.
int64_t pair_width(const ModelConfig& config, const std::string& pair);

// Of a row of Model::encode_image() and encode_text().
int64_t embedding_width(const ModelConfig& config);

}  // namespace muster
