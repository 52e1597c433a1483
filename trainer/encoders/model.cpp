#include "trainer/encoders/model.h"

#include <fmt/format.h>
#include <unistd.h>

#include <stdexcept>

#include "launch/error.h"
#include "trainer/encoders/made_models.h"
#include "trainer/encoders/model_cost.h"

namespace muster {
namespace {

// A layer is taken at a time: without this a model that cannot fit would fill the machine first.
void check_memory(const ModelConfig& config) {
  const double weights = 4e-9 * static_cast<double>(count_parameters(config));
  const double memory =
      1e-9 * static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
  if (weights <= memory) return;
  throw ConfigError(
      fmt::format("model: its {:.4g} parameters take {:.4g} GB, this machine has {:.4g} GB of memory; give "
                  "smaller widths or fewer layers",
                  static_cast<double>(count_parameters(config)), weights, memory));
}

}  // namespace

SetOutputs Model::encode_image_sets(const Batch& /*batch*/) {
  throw std::logic_error("Model::encode_image_sets: the model has no sets of rows");
}

SetOutputs Model::encode_text_sets(const at::Tensor& /*tokens*/) {
  throw std::logic_error("Model::encode_text_sets: the model has no sets of rows");
}

std::shared_ptr<Model> make_model(const ModelConfig& config, uint64_t seed) {
  check_memory(config);
  return has_sets(config) ? make_region_model(config, seed) : make_clip_model(config, seed);
}

}  // namespace muster
