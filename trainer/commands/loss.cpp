#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/CLI.hpp>

#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "comm/make_communicator.h"
#include "configs/run.pb.h"
#include "configs/strict_parser.h"
#include "dataloader/formats/atomic_file.h"
#include "dataloader/formats/safetensors.h"
#include "launch/error.h"
#include "launch/process.h"
#include "trainer/commands/commands.h"
#include "trainer/commands/loss_inputs.h"
#include "trainer/commands/output_file.h"
#include "trainer/commands/run_setup.h"
#include "trainer/feature_rows.h"
#include "trainer/losses/objective.h"

namespace muster {
namespace {

constexpr size_t kMaxConfigBytes = 1 << 20;

struct LossArguments {
  std::string config, features, out;
  int threads = 0;
};

// The objective of a run config; the rest of it may be missing.
Objective read_objective(const std::string& path) {
  RunConfig config;
  const std::vector<std::string> problems = parse_strictly(read_file(path, kMaxConfigBytes), path, config);
  if (!problems.empty()) throw ConfigError(fmt::format("{}", fmt::join(problems, "\n")));
  if (!config.has_objective()) {
    throw ConfigError(
        fmt::format("{}: no objective; add one, such as objective {{ term {{ info_nce {{ }} }} }}", path));
  }
  return config.objective();
}

void set_parameters(LossObjective& objective, const LossInputs& inputs, const std::string& path) {
  if (inputs.log_scale) objective.set_log_scale(*inputs.log_scale);
  if (!inputs.logit_bias) return;
  if (!objective.uses_logit_bias()) {
    throw ConfigError(
        fmt::format("{}: 'logit_bias' is given, but no term of the objective has a bias; remove it", path));
  }
  objective.set_logit_bias(*inputs.logit_bias);
}

at::Tensor gather(const at::Tensor& local, const std::vector<int64_t>& rows, Communicator& communicator) {
  at::Tensor whole = at::empty({std::accumulate(rows.begin(), rows.end(), int64_t{0}), local.size(1)}, local.options());
  communicator.all_gather(whole, local, rows, "loss.output").wait();
  return whole;
}

// The outputs of the whole batch, the same on every rank.
NamedTensors evaluate(LossObjective& objective, const LossInputs& inputs, Communicator& communicator) {
  std::vector<Slice> slices;  // of the ranks
  for (int rank = 0; rank < communicator.size(); ++rank) {
    slices.push_back(slice_of(inputs.samples(), {rank, communicator.size()}));
  }
  const Slice own = slices[static_cast<size_t>(communicator.rank())];
  Features features;
  for (const FeaturePair& pair : inputs.pairs) features.pairs.push_back(part_of(pair, own));
  Labels labels;
  labels.identity = inputs.identity.narrow(0, own.first, own.count);
  if (inputs.weight.defined()) labels.weight = inputs.weight.narrow(0, own.first, own.count);
  const Progress ramps_over{0, std::numeric_limits<double>::infinity()};
  const LossResult result = objective.evaluate(features, labels, ramps_over, communicator);

  const auto number = [](double value) { return at::full({}, value, at::kDouble); };
  NamedTensors outputs = {{"loss", number(result.value)}};
  for (size_t i = 0; i < result.terms.size(); ++i)
    outputs.emplace_back(fmt::format("loss.{}", i), number(result.terms[i]));
  for (size_t i = 0; i < inputs.pairs.size(); ++i) {
    const FeaturePair& pair = inputs.pairs[i];
    std::vector<int64_t> images, texts;
    for (const Slice slice : slices) {
      images.push_back(image_rows(pair, slice).count);
      texts.push_back(text_rows(pair, slice).count);
    }
    const FeaturePair& gradient = result.gradient.pairs[i];
    outputs.emplace_back("grad.image" + pair_suffix(pair.name), gather(gradient.image, images, communicator));
    outputs.emplace_back("grad.text" + pair_suffix(pair.name), gather(gradient.text, texts, communicator));
  }
  for (size_t i = 0; i < result.parameter_grads.size(); ++i) {
    const std::string name = objective.parameters()[i].first;  // objective.log_scale
    communicator.all_reduce(result.parameter_grads[i], ReduceOp::kSum, "loss.parameters").wait();
    outputs.emplace_back("grad" + name.substr(name.find('.')), result.parameter_grads[i]);
  }
  return outputs;
}

void print_summary(const LossObjective& objective, const LossInputs& inputs, const NamedTensors& outputs, int ranks) {
  const at::Tensor& image = inputs.pairs.front().image;
  fmt::print("{} pairs of width {} in {}, {} rank{}, scale {:.6g}", inputs.samples(), image.size(1),
             c10::toString(image.scalar_type()), ranks, ranks == 1 ? "" : "s", objective.logit_scale());
  if (objective.uses_logit_bias()) fmt::print(", bias {:.6g}", objective.logit_bias());
  fmt::print("\n{:<16} {:.9g}\n", "loss", outputs[0].second.item<double>());
  for (size_t i = 0; i < objective.term_names().size(); ++i) {
    fmt::print("{:<16} {:.9g}\n", fmt::format("loss.{} {}", i, objective.term_names()[i]),
               outputs[i + 1].second.item<double>());
  }
}

void loss(const LossArguments& arguments, Process& process) {
  check_output_file("--out", arguments.out, {arguments.config, arguments.features});
  LossObjective objective(read_objective(arguments.config));
  start_computing(process, arguments.threads);
  const LossInputs inputs = read_loss_inputs(arguments.features);
  set_parameters(objective, inputs, arguments.features);
  const std::unique_ptr<Communicator> communicator = make_communicator(process, CommConfig());
  const NamedTensors outputs = evaluate(objective, inputs, *communicator);
  if (!std::isfinite(outputs[0].second.item<double>())) {
    throw NonFiniteError(
        fmt::format("{}: the loss is not finite: a feature is NaN or infinite, or the scale, {:.3g}, is "
                    "out of range; nothing was written",
                    arguments.features, objective.logit_scale()));
  }
  if (communicator->rank() == 0) {
    write_safetensors(arguments.out, outputs);
    print_summary(objective, inputs, outputs, communicator->size());
  }
  communicator->barrier("loss.written");
}

}  // namespace

void add_loss_command(CLI::App& app, Process& process) {
  CLI::App* command = app.add_subcommand("loss", "Value and gradients of an objective on features from a file");
  const auto arguments = std::make_shared<LossArguments>();
  command->add_option("--config", arguments->config, "Run config, or a file with its objective { } alone")->required();
  command
      ->add_option(
          "--features", arguments->features,
          "safetensors with image, text [B, d] float32 or float64 (raw rows), identity [B] int64; perhaps weight [B], "
          "log_scale, logit_bias; image_sizes, text_sizes [B] int64 where a sample has several rows (regions, words); "
          "and image.NAME, text.NAME, image_sizes.NAME, text_sizes.NAME of a pair NAME other than global")
      ->required();
  command
      ->add_option(
          "--out", arguments->out,
          "safetensors with loss, loss.<term>, grad.image, grad.text, and grad. of each learnable number and each "
          "further pair")
      ->required();
  command->add_option("--threads", arguments->threads, "Threads of each rank; 0: cores / ranks")
      ->check(CLI::Range(0, 1024));
  command->callback([arguments, &process] { loss(*arguments, process); });
}

}  // namespace muster
