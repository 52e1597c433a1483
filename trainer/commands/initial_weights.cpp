#include "trainer/commands/initial_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "configs/load.h"
#include "launch/error.h"
#include "launch/log.h"
#include "trainer/commands/run_setup.h"
#include "trainer/encoders/position_tables.h"
#include "trainer/run_folder.h"

namespace muster {
namespace {

PatchGrid grid_of(const VisionConfig& image) {
  return {image.height_pixels() / image.patch(), image.width_pixels() / image.patch()};
}

void require_allowed(const InitConfig& init, const std::string& difference) {
  if (init.resize_positions() != InitConfig::REFUSE) {
    log_info(fmt::format("{}: position table resized ({})", init.run(), difference));
    return;
  }
  throw ConfigError(
      fmt::format("train.init.run {} was trained with another size ({}): set train.init.resize_positions to BILINEAR "
                  "or BICUBIC, or give the model that size",
                  init.run(), difference));
}

void fit_image_positions(at::Tensor& table, const VisionConfig& there, const VisionConfig& here,
                         const InitConfig& init) {
  const PatchGrid from = grid_of(there), to = grid_of(here);
  if (from.rows == to.rows && from.columns == to.columns) return;
  require_allowed(init,
                  fmt::format("{} x {} patches there, {} x {} here", from.rows, from.columns, to.rows, to.columns));
  const bool bilinear = init.resize_positions() == InitConfig::BILINEAR;
  table = resize_patch_positions(table, from, to, bilinear ? GridFilter::kBilinear : GridFilter::kBicubic);
}

void fit_text_positions(at::Tensor& table, const TextConfig& there, const TextConfig& here, const InitConfig& init) {
  if (there.context() == here.context()) return;
  require_allowed(init, fmt::format("{} tokens there, {} here", there.context(), here.context()));
  if (std::min(there.context(), here.context()) < 3) {
    throw ConfigError("train.init: text positions of fewer than 3 tokens cannot be resized; give model.text.context");
  }
  table = resize_text_positions(table, here.context());
}

}  // namespace

NamedTensors read_initial_weights(const RunConfig& config) {
  const InitConfig& init = config.train().init();
  const RunConfig source = load_run_config(config_path(init.run()), {});
  const StoredWeights stored =
      read_weights(init.run(), init.checkpoint(), source, init.ema() ? Weights::kEma : Weights::kRaw);
  NamedTensors tensors;
  for (const auto& [name, tensor] : stored.tensors) {
    if (name.rfind("objective.", 0) == 0) continue;
    tensors.emplace_back(name, tensor);
    at::Tensor& table = tensors.back().second;
    if (name == "image.position_embedding") {
      fit_image_positions(table, source.model().image(), config.model().image(), init);
    } else if (name == "text.position_embedding") {
      fit_text_positions(table, source.model().text(), config.model().text(), init);
    }
  }
  log_info(fmt::format("starting from {} of {} at step {}", init.ema() ? "the average" : "the weights", init.run(),
                       stored.step));
  return tensors;
}

}  // namespace muster
