#include "trainer/commands/initial_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "dataloader/data_files.h"
#include "launch/error.h"
#include "launch/log.h"
#include "trainer/commands/run_config.h"
#include "trainer/commands/run_setup.h"
#include "trainer/encoders/bert_weights.h"
#include "trainer/encoders/model_config.h"
#include "trainer/encoders/position_tables.h"
#include "trainer/encoders/published_model.h"
#include "trainer/encoders/published_weights.h"
#include "trainer/head_start.h"
#include "trainer/replica.h"

namespace muster {
namespace {

PatchGrid grid_of(const VisionConfig& image) {
  return {image.height_pixels() / image.patch(), image.width_pixels() / image.patch()};
}

bool is_of_objective(const std::string& name) {
  return name.rfind("objective.", 0) == 0;
}

std::string source_of(const InitConfig& init) {
  return init.has_run() ? "train.init.run " + init.run() : "train.init.weights " + init.weights();
}

void require_allowed(const InitConfig& init, const std::string& difference) {
  if (init.resize_positions() != InitConfig::REFUSE) {
    log_info(fmt::format("{}: position table resized ({})", source_of(init), difference));
    return;
  }
  throw ConfigError(
      fmt::format("{} was trained with another size ({}): set train.init.resize_positions to BILINEAR or BICUBIC, or "
                  "give the model that size",
                  source_of(init), difference));
}

at::Tensor fit_image_positions(const at::Tensor& table, PatchGrid from, PatchGrid to, const InitConfig& init) {
  if (from.rows == to.rows && from.columns == to.columns) return table;
  require_allowed(init,
                  fmt::format("{} x {} patches there, {} x {} here", from.rows, from.columns, to.rows, to.columns));
  const bool bilinear = init.resize_positions() == InitConfig::BILINEAR;
  return resize_patch_positions(table, from, to, bilinear ? GridFilter::kBilinear : GridFilter::kBicubic);
}

at::Tensor fit_text_positions(const at::Tensor& table, int64_t to, const InitConfig& init) {
  const int64_t from = table.size(0);
  if (from == to) return table;
  require_allowed(init, fmt::format("{} tokens there, {} here", from, to));
  if (std::min(from, to) < 3) {
    throw ConfigError("train.init: text positions of fewer than 3 tokens cannot be resized; give model.text.context");
  }
  return resize_text_positions(table, to);
}

// A position table, by its name among ours, as `config`'s model needs it; other tensors as they are.
at::Tensor fit(const std::string& name, const at::Tensor& tensor, PatchGrid from, const RunConfig& config) {
  const InitConfig& init = config.train().init();
  if (name == "image.position_embedding") {
    return fit_image_positions(tensor, from, grid_of(config.model().image()), init);
  }
  if (name == "text.position_embedding") return fit_text_positions(tensor, config.model().text().context(), init);
  return tensor;
}

void take_from_run(const RunConfig& config, const NamedTensors& into) {
  const InitConfig& init = config.train().init();
  const RunConfig source = load_config_of(init.run());
  const StoredWeights stored =
      read_weights(init.run(), init.checkpoint(), source, init.ema() ? Weights::kEma : Weights::kRaw);
  NamedTensors tensors, model;
  for (const auto& [name, tensor] : stored.tensors) {
    if (is_of_objective(name)) continue;
    const bool has_patches = source.model().image().patch() > 0;
    tensors.emplace_back(name, fit(name, tensor, has_patches ? grid_of(source.model().image()) : PatchGrid{}, config));
  }
  for (const auto& tensor : into) {
    if (!is_of_objective(tensor.first)) model.push_back(tensor);
  }
  copy_tensors(tensors, model, "train.init.run");
  log_info(fmt::format("starting from {} of {} at step {}", init.ema() ? "the average" : "the weights", init.run(),
                       stored.step));
  if (count_heads(config.heads()) > 0) log_info("heads start anew: train.init.run gives the model's weights alone");
}

// The objective's numbers that were in the file.
void log_objective(const PublishedOutcome& outcome, const NamedTensors& into) {
  for (const std::string& name : outcome.objective) {
    const double value = find_tensor(into, name, "").item<double>();
    const bool is_scale = name == "objective.log_scale";
    log_info(fmt::format("objective.{} starts at the file's {:.4f}, not at its init",
                         is_scale ? "logit_scale" : "logit_bias", is_scale ? std::exp(value) : value));
  }
  for (const std::string& name : outcome.spare) {
    log_info(fmt::format("the file's {} is left out: the objective has no learnable one", name));
  }
}

void take_published(const RunConfig& config, const NamedTensors& into) {
  const InitConfig& init = config.train().init();
  const PublishedModel published(init.weights());
  published.check_agrees(config.model());
  PublishedChoice choice;
  choice.ignore.assign(init.ignore().begin(), init.ignore().end());
  choice.fit = [&](const std::string& name, const at::Tensor& table) {
    const bool image = name == "image.position_embedding";
    return fit(name, table, image ? published.grid(config.model().image()) : PatchGrid{}, config);
  };
  NamedTensors theirs;
  std::vector<std::string> ours;
  for (const auto& tensor : into) {
    const bool is_ours = tensor.first.rfind(kSelectionPrefix, 0) == 0;
    if (!is_ours) theirs.push_back(tensor);
    if (is_ours) ours.push_back(tensor.first);
  }
  const PublishedOutcome outcome = copy_published(published, choice, theirs);
  log_info(fmt::format("starting from {}: {} ({}), {} tensors", init.weights(), published.family(),
                       published.file().format(), published.file().tensors().size()));
  if (!published.states_heads()) {
    const ModelConfig& model = config.model();
    log_info(
        fmt::format("the file does not say its heads and activation: {} and {} heads and {} are the config's or "
                    "CLIP's",
                    model.image().heads(), model.text().heads(), ModelConfig::Activation_Name(model.activation())));
  }
  if (!outcome.ignored.empty()) {
    log_info(fmt::format("left out by train.init.ignore: {}", fmt::join(outcome.ignored, ", ")));
  }
  if (!ours.empty()) log_info(fmt::format("not in the file, with their first values: {}", fmt::join(ours, ", ")));
  log_objective(outcome, into);
}

// The text tower's, of a model of regions.
void take_bert(const RunConfig& config, const NamedTensors& into) {
  const WeightFile file(find_data_file(config.train().init().weights()));
  const std::vector<std::string> spare = copy_bert(file, config.model(), into);
  log_info(fmt::format("text tower starting from {}: BERT ({}), {} tensors{}; all else from random weights",
                       file.path(), file.format(), file.tensors().size(),
                       spare.empty() ? "" : fmt::format(", {} left out", fmt::join(spare, ", "))));
}

}  // namespace

void take_initial_weights(const RunConfig& config, const NamedTensors& into) {
  if (config.train().init().has_run()) {
    take_from_run(config, into);
  } else if (has_sets(config.model())) {
    take_bert(config, into);
  } else {
    take_published(config, into);
  }
}

}  // namespace muster
