// What `muster loss` reads: the features of a whole batch.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "trainer/features.h"

namespace muster {

// The whole batch, as the file holds it.
struct LossInputs {
  std::vector<FeaturePair> pairs;  // in the order of the file
  at::Tensor identity;
  at::Tensor weight;  // undefined: none
  std::optional<double> log_scale;
  std::optional<double> logit_bias;

  int64_t samples() const { return identity.size(0); }
};

// The pair "global" is image and text, any other image.NAME and text.NAME: "" or ".NAME".
std::string pair_suffix(const std::string& pair);

// DataError naming the file, the tensor and what to give.
LossInputs read_loss_inputs(const std::string& path);

}  // namespace muster
