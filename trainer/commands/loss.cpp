#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/CLI.hpp>

#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>
#include <set>
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
#include "trainer/commands/output_file.h"
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
  std::vector<FeaturePair> pairs;  // in the order of the file
  at::Tensor identity;
  at::Tensor weight;  // undefined: none
  std::optional<double> log_scale;
  std::optional<double> logit_bias;

  int64_t rows() const { return identity.size(0); }
};

constexpr char kInputs[] =
    "image, text, identity and perhaps weight, log_scale, logit_bias; image.NAME and text.NAME of further pairs";

std::string shape_of(const at::Tensor& tensor) {
  return fmt::format("{} [{}]", c10::toString(tensor.scalar_type()), fmt::join(tensor.sizes(), ", "));
}

const at::Tensor* find(const NamedTensors& tensors, const std::string& name) {
  for (const auto& [other, tensor] : tensors) {
    if (other == name) return &tensor;
  }
  return nullptr;
}

std::optional<double> read_number(const NamedTensors& tensors, const std::string& name, const std::string& path) {
  const at::Tensor* tensor = find(tensors, name);
  if (tensor == nullptr) return std::nullopt;
  if (tensor->numel() != 1 || !tensor->is_floating_point() || !std::isfinite(tensor->item<double>())) {
    throw DataError(
        fmt::format("{}: '{}' is {}; give one finite floating-point number", path, name, shape_of(*tensor)));
  }
  return tensor->item<double>();
}

// The pair "global" is image and text, any other image.NAME and text.NAME.
std::string pair_suffix(const std::string& pair) {
  return pair == "global" ? "" : "." + pair;
}

bool starts_with(const std::string& text, const std::string& start) {
  return text.compare(0, start.size(), start) == 0;
}

void check_names(const NamedTensors& tensors, const std::string& path) {
  const std::set<std::string> known = {"image", "text", "identity", "weight", "log_scale", "logit_bias"};
  for (const auto& [name, tensor] : tensors) {
    if (known.count(name) > 0) continue;
    const bool is_pair = starts_with(name, "image.") || starts_with(name, "text.");
    const std::string pair = is_pair ? name.substr(name.find('.') + 1) : "";
    if (!is_pair || pair.empty() || pair == "global") {
      throw DataError(fmt::format("{}: '{}' is not an input; give {}", path, name, kInputs));
    }
    find_tensor(tensors, (name[0] == 'i' ? "text." : "image.") + pair, path);
  }
}

FeaturePair read_pair(const NamedTensors& tensors, const std::string& pair, const std::string& path) {
  const std::string suffix = pair_suffix(pair);
  const at::Tensor image = find_tensor(tensors, "image" + suffix, path);
  const at::Tensor text = find_tensor(tensors, "text" + suffix, path);
  const at::ScalarType dtype = image.scalar_type();
  if (image.dim() != 2 || image.numel() == 0 || (dtype != at::kFloat && dtype != at::kDouble)) {
    throw DataError(fmt::format("{}: 'image{}' is {}; give float32 or float64 [B, d], B and d at least 1", path, suffix,
                                shape_of(image)));
  }
  if (text.sizes() != image.sizes() || text.scalar_type() != dtype) {
    throw DataError(fmt::format("{}: 'text{}' is {}; give it the shape and dtype of 'image{}', {}", path, suffix,
                                shape_of(text), suffix, shape_of(image)));
  }
  return {pair, image, text};
}

std::vector<FeaturePair> read_pairs(const NamedTensors& tensors, const std::string& path) {
  std::vector<FeaturePair> pairs;
  for (const auto& [name, tensor] : tensors) {
    if (name == "image") pairs.push_back(read_pair(tensors, "global", path));
    if (starts_with(name, "image.")) pairs.push_back(read_pair(tensors, name.substr(6), path));
  }
  if (pairs.empty()) throw DataError(fmt::format("{}: there is no 'image'; give {}", path, kInputs));
  const at::Tensor& first = pairs.front().image;
  for (const FeaturePair& pair : pairs) {
    if (pair.image.size(0) == first.size(0) && pair.image.scalar_type() == first.scalar_type()) continue;
    throw DataError(fmt::format("{}: 'image{}' is {}, 'image{}' {}; give all pairs the same rows and dtype", path,
                                pair_suffix(pair.name), shape_of(pair.image), pair_suffix(pairs.front().name),
                                shape_of(first)));
  }
  return pairs;
}

LossInputs read_inputs(const std::string& path) {
  const NamedTensors tensors = read_safetensors(path);
  check_names(tensors, path);
  LossInputs inputs;
  inputs.pairs = read_pairs(tensors, path);
  inputs.identity = find_tensor(tensors, "identity", path);
  const int64_t rows = inputs.pairs.front().image.size(0);
  if (inputs.identity.scalar_type() != at::kLong || inputs.identity.dim() != 1 || inputs.identity.size(0) != rows) {
    throw DataError(fmt::format("{}: 'identity' is {}; give int64 [{}], one for each row of 'image'", path,
                                shape_of(inputs.identity), rows));
  }
  if (const at::Tensor* weight = find(tensors, "weight")) {
    if (!weight->is_floating_point() || weight->dim() != 1 || weight->size(0) != rows) {
      throw DataError(fmt::format("{}: 'weight' is {}; give float32 or float64 [{}], one for each row of 'image'", path,
                                  shape_of(*weight), rows));
    }
    inputs.weight = weight->to(at::kDouble);
  }
  inputs.log_scale = read_number(tensors, "log_scale", path);
  inputs.logit_bias = read_number(tensors, "logit_bias", path);
  return inputs;
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
  const std::vector<int64_t> rows = split_rows(inputs.rows(), communicator.size());
  const int64_t count = rows[static_cast<size_t>(communicator.rank())];
  const int64_t first = std::accumulate(rows.begin(), rows.begin() + communicator.rank(), int64_t{0});
  Features features;
  for (const FeaturePair& pair : inputs.pairs) {
    features.pairs.push_back({pair.name, pair.image.narrow(0, first, count), pair.text.narrow(0, first, count)});
  }
  Labels labels;
  labels.identity = inputs.identity.narrow(0, first, count);
  if (inputs.weight.defined()) labels.weight = inputs.weight.narrow(0, first, count);
  const Progress ramps_over{0, std::numeric_limits<double>::infinity()};
  const LossResult result = objective.evaluate(features, labels, ramps_over, communicator);

  const auto number = [](double value) { return at::full({}, value, at::kDouble); };
  NamedTensors outputs = {{"loss", number(result.value)}};
  for (size_t i = 0; i < result.terms.size(); ++i)
    outputs.emplace_back(fmt::format("loss.{}", i), number(result.terms[i]));
  for (const FeaturePair& pair : result.gradient.pairs) {
    outputs.emplace_back("grad.image" + pair_suffix(pair.name), gather(pair.image, rows, communicator));
    outputs.emplace_back("grad.text" + pair_suffix(pair.name), gather(pair.text, rows, communicator));
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
  fmt::print("{} pairs of width {} in {}, {} rank{}, scale {:.6g}", image.size(0), image.size(1),
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
  const LossInputs inputs = read_inputs(arguments.features);
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
          "log_scale, logit_bias, and image.NAME, text.NAME of further pairs of features")
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
