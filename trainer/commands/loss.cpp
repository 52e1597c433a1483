#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/CLI.hpp>

#include <cmath>
#include <memory>
#include <numeric>
#include <optional>
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
#include "trainer/commands/run_setup.h"
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

// The whole batch, as the file holds it.
struct LossInputs {
  at::Tensor image;
  at::Tensor text;
  at::Tensor identity;
  std::optional<double> log_scale;
};

std::string shape_of(const at::Tensor& tensor) {
  return fmt::format("{} [{}]", c10::toString(tensor.scalar_type()), fmt::join(tensor.sizes(), ", "));
}

void check_names(const NamedTensors& tensors, const std::string& path) {
  for (const auto& [name, tensor] : tensors) {
    if (name == "logit_bias") {
      throw ConfigError(
          fmt::format("{}: 'logit_bias' is given, but no term of the objective has a bias; remove it", path));
    }
    if (name != "image" && name != "text" && name != "identity" && name != "log_scale") {
      throw DataError(
          fmt::format("{}: '{}' is not an input; give image, text, identity and perhaps log_scale", path, name));
    }
  }
}

double read_log_scale(const at::Tensor& tensor, const std::string& path) {
  if (tensor.numel() != 1 || !tensor.is_floating_point() || !std::isfinite(tensor.item<double>())) {
    throw DataError(
        fmt::format("{}: 'log_scale' is {}; give one finite floating-point number", path, shape_of(tensor)));
  }
  return tensor.item<double>();
}

LossInputs read_inputs(const std::string& path) {
  const NamedTensors tensors = read_safetensors(path);
  check_names(tensors, path);
  LossInputs inputs{find_tensor(tensors, "image", path), find_tensor(tensors, "text", path),
                    find_tensor(tensors, "identity", path), std::nullopt};
  const at::ScalarType dtype = inputs.image.scalar_type();
  if (inputs.image.dim() != 2 || inputs.image.numel() == 0 || (dtype != at::kFloat && dtype != at::kDouble)) {
    throw DataError(fmt::format("{}: 'image' is {}; give float32 or float64 [B, d], B and d at least 1", path,
                                shape_of(inputs.image)));
  }
  if (inputs.text.sizes() != inputs.image.sizes() || inputs.text.scalar_type() != dtype) {
    throw DataError(fmt::format("{}: 'text' is {}; give it the shape and dtype of 'image', {}", path,
                                shape_of(inputs.text), shape_of(inputs.image)));
  }
  if (inputs.identity.scalar_type() != at::kLong || inputs.identity.dim() != 1 ||
      inputs.identity.size(0) != inputs.image.size(0)) {
    throw DataError(fmt::format("{}: 'identity' is {}; give int64 [{}], one for each row of 'image'", path,
                                shape_of(inputs.identity), inputs.image.size(0)));
  }
  for (const auto& [name, tensor] : tensors) {
    if (name == "log_scale") inputs.log_scale = read_log_scale(tensor, path);
  }
  return inputs;
}

at::Tensor gather(const at::Tensor& local, const std::vector<int64_t>& rows, Communicator& communicator) {
  at::Tensor whole = at::empty({std::accumulate(rows.begin(), rows.end(), int64_t{0}), local.size(1)}, local.options());
  communicator.all_gather(whole, local, rows, "loss.output").wait();
  return whole;
}

// The outputs of the whole batch, the same on every rank.
NamedTensors evaluate(LossObjective& objective, const LossInputs& inputs, Communicator& communicator) {
  const std::vector<int64_t> rows = split_rows(inputs.image.size(0), communicator.size());
  const size_t rank = static_cast<size_t>(communicator.rank());
  const int64_t first = std::accumulate(rows.begin(), rows.begin() + communicator.rank(), int64_t{0});
  Features features;
  features.pairs.push_back(
      {"global", inputs.image.narrow(0, first, rows[rank]), inputs.text.narrow(0, first, rows[rank])});
  Labels labels;
  labels.identity = inputs.identity.narrow(0, first, rows[rank]);
  const LossResult result = objective.evaluate(features, labels, {}, communicator);

  const auto number = [](double value) { return at::full({}, value, at::kDouble); };
  NamedTensors outputs = {{"loss", number(result.value)}};
  for (size_t i = 0; i < result.terms.size(); ++i)
    outputs.emplace_back(fmt::format("loss.{}", i), number(result.terms[i]));
  outputs.emplace_back("grad.image", gather(result.gradient.pairs[0].image, rows, communicator));
  outputs.emplace_back("grad.text", gather(result.gradient.pairs[0].text, rows, communicator));
  for (const at::Tensor& share : result.parameter_grads) {
    communicator.all_reduce(share, ReduceOp::kSum, "loss.log_scale").wait();
    outputs.emplace_back("grad.log_scale", share);
  }
  return outputs;
}

void print_summary(const LossObjective& objective, const LossInputs& inputs, const NamedTensors& outputs, int ranks) {
  fmt::print("{} pairs of width {} in {}, {} rank{}, scale {:.6g}\n", inputs.image.size(0), inputs.image.size(1),
             c10::toString(inputs.image.scalar_type()), ranks, ranks == 1 ? "" : "s", objective.logit_scale());
  fmt::print("{:<16} {:.9g}\n", "loss", outputs[0].second.item<double>());
  for (size_t i = 0; i < objective.term_names().size(); ++i) {
    fmt::print("{:<16} {:.9g}\n", fmt::format("loss.{} {}", i, objective.term_names()[i]),
               outputs[i + 1].second.item<double>());
  }
}

void loss(const LossArguments& arguments, Process& process) {
  LossObjective objective(read_objective(arguments.config));
  start_computing(process, arguments.threads);
  const LossInputs inputs = read_inputs(arguments.features);
  if (inputs.log_scale) objective.set_log_scale(*inputs.log_scale);
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
          "safetensors with image, text [B, d] float32 or float64 (raw rows), identity [B] int64, perhaps log_scale")
      ->required();
  command
      ->add_option("--out", arguments->out,
                   "safetensors with loss, loss.<term>, grad.image, grad.text, grad.log_scale (if it is learnable)")
      ->required();
  command->add_option("--threads", arguments->threads, "Threads of each rank; 0: cores / ranks")
      ->check(CLI::Range(0, 1024));
  command->callback([arguments, &process] { loss(*arguments, process); });
}

}  // namespace muster
