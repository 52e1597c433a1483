// From model.regions to the sizes of its parts, and what they cost (model_cost.h).
#pragma once

#include <cstdint>
#include <vector>

#include "trainer/encoders/model_cost.h"
#include "trainer/encoders/region_towers.h"

namespace muster {

// Of a resolved config.
RegionTowerSizes tower_sizes(const ModelConfig& config);
BertSizes bert_sizes(const ModelConfig& config);
PostNormOptions joint_options(const ModelConfig& config);

// Of the names of BERT's parameters.
inline constexpr char kBertPrefix[] = "text.bert.";

// As model_cost.h. A post-norm block of width w and hidden layer h on T tokens makes (8 w^2 + 4 w h) T + 4 w T^2 FLOP;
// all tokens go through all blocks. Images count with kUsualRegions.
std::vector<ParameterSize> region_parameter_sizes(const ModelConfig& config);
TowerFlop region_flop(const ModelConfig& config);
TowerFlop word_flop(const ModelConfig& config, int64_t tokens);
// About: what the blocks keep, without what the tokens' picking and padding does.
int64_t region_activation_bytes(const ModelConfig& config, int64_t rows, int64_t tokens, bool bf16);

}  // namespace muster
