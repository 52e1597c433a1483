#include <ATen/ops/scalar_tensor.h>
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>

#include "dataloader/formats/atomic_file.h"
#include "dataloader/partial_folder.h"
#include "launch/error.h"
#include "launch/process.h"
#include "trainer/commands/commands.h"
#include "trainer/commands/run_config.h"
#include "trainer/commands/run_setup.h"
#include "trainer/encoders/model_config.h"
#include "trainer/encoders/published_export.h"
#include "trainer/losses/objective.h"

namespace muster {
namespace {

struct ExportArguments {
  std::string run_dir, format, out;
  std::string checkpoint = "newest";
  std::string weights = "auto";
};

// A scale or bias that is not learned stands in the config alone.
void add_fixed_numbers(const LossObjective& objective, NamedTensors& tensors) {
  const auto add = [&](const char* name, double value) {
    const bool there = std::any_of(tensors.begin(), tensors.end(), [&](const auto& t) { return t.first == name; });
    if (!there) tensors.emplace_back(name, at::scalar_tensor(value, at::kFloat));
  };
  add("objective.log_scale", std::log(objective.logit_scale()));
  if (objective.uses_logit_bias()) add("objective.logit_bias", objective.logit_bias());
}

int64_t count_numbers(const NamedTensors& tensors) {
  int64_t count = 0;
  for (const auto& [name, tensor] : tensors) count += tensor.numel();
  return count;
}

void export_model(const ExportArguments& arguments, Process& process) {
  if (process.world_size() > 1) throw ConfigError("muster export is one process's work; run it without mpirun");
  if (arguments.out.empty()) throw ConfigError("--out is empty; give the folder to make");
  start_computing(process, 1);
  const RunConfig config = load_config_of(arguments.run_dir);
  if (has_sets(config.model())) {
    throw ConfigError(
        fmt::format("{} has a model of regions, which neither CLIPModel nor open_clip has: its weights are "
                    "model.safetensors in the checkpoint's folder",
                    arguments.run_dir));
  }
  StoredWeights stored =
      read_weights(arguments.run_dir, arguments.checkpoint, config, weights_from_name(arguments.weights));
  add_fixed_numbers(LossObjective(config.objective()), stored.tensors);
  const bool transformers = arguments.format == "hf";
  const PublishedExport made = make_published_export(transformers ? NameStyle::kTransformers : NameStyle::kClip,
                                                     config.model(), config.data().image(), stored.tensors);

  PartialFolder folder(arguments.out);
  for (const auto& [name, text] : made.texts) write_file_atomically(folder.folder() + "/" + name, text);
  write_safetensors(folder.folder() + "/" + made.weights_name, made.tensors,
                    {{"format", "pt"}, {"step", std::to_string(stored.step)}});
  folder.publish();

  fmt::print("{}: {} tensors, {} numbers in float32, of {} at step {}\n", arguments.out, made.tensors.size(),
             count_numbers(made.tensors), arguments.run_dir, stored.step);
  fmt::print(transformers ? "in Python: transformers.CLIPModel.from_pretrained(\"{}\")\n"
                          : "in Python: open_clip.create_model_from_pretrained(\"local-dir:{}\")\n",
             arguments.out);
  for (const std::string& name : made.left_out) fmt::print("left out, as it has no place there: {}\n", name);
  if (selects_tokens(config.model())) {
    fmt::print(
        "a score of this run is the mean over both pairs of features, one of theirs of the global pair's alone\n");
  }
}

}  // namespace

void add_export_command(CLI::App& app, Process& process) {
  CLI::App* command =
      app.add_subcommand("export", "Write a run's model, without heads and references, as others' programs load it");
  const auto arguments = std::make_shared<ExportArguments>();
  command->add_option("--run", arguments->run_dir, "Run folder of muster train, or one checkpoint's folder")
      ->required();
  command
      ->add_option("--format", arguments->format,
                   "hf: transformers' CLIPModel, square images only; open_clip: its folder for a hub")
      ->required()
      ->check(CLI::IsMember({"hf", "open_clip"}));
  command
      ->add_option("--out", arguments->out,
                   "Folder to make: safetensors in float32 and the configs that say its sizes, its images' size and "
                   "normalisation")
      ->required();
  command->add_option("--checkpoint", arguments->checkpoint, "newest, best (on val), or a step")->capture_default_str();
  command->add_option("--weights", arguments->weights, "raw, ema (their average), or auto: ema if the run keeps one")
      ->capture_default_str();
  command->callback([arguments, &process] { export_model(*arguments, process); });
}

}  // namespace muster
