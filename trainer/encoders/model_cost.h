// What CLIP's dual encoder costs, from its config alone: parameters, FLOP, memory of a forward that keeps its graph.
// No tensor is made. Configs are resolved ones.
//
// A block of width w on T tokens multiplies 12 w^2 weights with each of them and T keys and values with each query:
//   24 w^2 T + 4 w T^2 FLOP (2 a multiply-add; a causal mask is not counted off)
// The last block carries on the tokens alone that become features (PreNormBlock::forward with rows), of 18 w^2 T one
// T-th. Patches, tokens and projections: 2 * 3 p^2 w a patch, nothing a token, 2 w d a feature of width d. Element-wise
// work is not counted. With token selection (token_selection.h) the last block carries on k tokens more, each of which
// goes through the selection's layers (2 (d h + h s + d s) for widths d, h and s); and the weights of one token in the
// last block are made once more, 2 w T.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trainer/encoders/encoders.pb.h"

namespace muster {

// Of a model of regions: what an image is counted with, as a config does not say; and the numbers of a region's box, as
// Batch::boxes has them.
constexpr int64_t kUsualRegions = 36;
constexpr int64_t kBoxNumbers = 5;

struct ParameterSize {
  std::string name;
  int64_t count = 0;  // of numbers
};

// In the order and under the names of Model::named_parameters().
std::vector<ParameterSize> parameter_sizes(const ModelConfig& config);

// How many numbers a config's model has to learn.
int64_t count_parameters(const ModelConfig& config);
// And how many it keeps beside them: running means and variances.
int64_t count_buffers(const ModelConfig& config);

// Of one sample.
struct TowerFlop {
  double forward = 0;
  double backward = 0;       // two products for each of the forward; none for pixels, which need no gradient
  double whole_forward = 0;  // with a last block that carries on all tokens, as published profiles count it
};

// What of a tower's tokens leaves it: the feature's alone, or all, each projected (TokenRequest, Model::text_tokens(),
// image_tokens()).
enum class TowerTokens { kFeature, kAll };

TowerFlop image_flop(const ModelConfig& config, TowerTokens leaving = TowerTokens::kFeature);
// Of Model::image_tokens() with so many patches.
TowerFlop image_tokens_flop(const ModelConfig& config, int64_t kept);
// `tokens`: up to the batch's last end token, as below; with the selection's padding all of the context are computed.
TowerFlop text_flop(const ModelConfig& config, int64_t tokens, TowerTokens leaving = TowerTokens::kFeature);

// Of the selection's layers, both towers; 0 without. Backward: of features and parameters.
TowerFlop selection_flop(const ModelConfig& config, int64_t tokens);

int64_t count_patches(const ModelConfig& config);

// Bytes that a training forward of `rows` samples leaves for its backward, features included; bf16: under autocast,
// with the weights' copies. To the byte for float32 on a CPU; of the attention kernel it counts queries, keys, values,
// outputs and one number a head and token. `texts`: what of the text tower's `tokens` leaves it; `images`: of the image
// tower's.
int64_t activation_bytes(const ModelConfig& config, int64_t rows, int64_t tokens, bool bf16,
                         TowerTokens texts = TowerTokens::kFeature, TowerTokens images = TowerTokens::kFeature);

}  // namespace muster
