#include "trainer/step_cost.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>

#include "comm/buckets.h"
#include "comm/communicator.h"
#include "launch/error.h"
#include "trainer/encoders/model_config.h"
#include "trainer/encoders/model_cost.h"
#include "trainer/head_cost.h"
#include "trainer/losses/loss_term.h"
#include "trainer/losses/objective.h"
#include "trainer/losses/tile_loss.h"
#include "trainer/parameter_groups.h"
#include "trainer/references/reference_bank.h"

namespace muster {
namespace {

double to_double(int64_t value) {
  return static_cast<double>(value);
}

bool trains(const std::vector<ParameterSize>& trainable, const std::string& prefix) {
  return std::any_of(trainable.begin(), trainable.end(),
                     [&](const ParameterSize& parameter) { return parameter.name.rfind(prefix, 0) == 0; });
}

bool is_one_tile(int64_t rows, int64_t columns) {
  const TileShape shape;
  return rows <= shape.rows && columns <= shape.columns;
}

// Of the model's own pass.
TowerFlop image_pass_flop(const StepJob& job) {
  return image_flop(job.settings.model, carries_image_tokens(job) ? TowerTokens::kAll : TowerTokens::kFeature);
}

double seconds(const Traffic& traffic, const Machine& machine) {
  return to_double(traffic.sent) / machine.bandwidth + to_double(traffic.messages) * machine.latency;
}

}  // namespace

std::vector<std::string> pairs_of(const Objective& objective) {
  std::vector<std::string> pairs;
  for (const Term& term : objective.term()) {
    Checks checks;
    const LossTerm loss = describe(term, "", checks);
    if (loss.whole) continue;
    for (const std::string& pair : {loss.teacher, term.pair()}) {
      if (pair.empty() || std::find(pairs.begin(), pairs.end(), pair) != pairs.end()) continue;
      pairs.push_back(pair);
    }
  }
  return pairs;
}

SampleRows sample_rows(const StepJob& job, const std::string& pair) {
  if (pair != kSetPair || !has_sets(job.settings.model)) return {};
  return {kUsualRegions, job.caption_tokens};
}

int64_t rows_of(const StepJob& job, int rank) {
  return split_rows(job.settings.train.global_batch(), job.world)[static_cast<size_t>(rank)];
}

int64_t chunk_rows(const StepJob& job, int rank) {
  const int64_t rows = rows_of(job, rank), chunk = job.settings.train.chunk();
  return chunk <= 0 ? rows : std::min(rows, chunk);
}

std::vector<ParameterSize> trainable_sizes(const StepJob& job) {
  std::vector<ParameterSize> all = parameter_sizes(job.settings.model);
  all.insert(all.end(), job.head_parameters.begin(), job.head_parameters.end());
  const LossObjective objective(job.settings.objective);
  for (const auto& [name, tensor] : objective.parameters()) all.push_back({name, tensor.numel()});
  std::vector<std::string> names;
  for (const ParameterSize& parameter : all) names.push_back(parameter.name);
  const OptimizerConfig& config = job.settings.train.optimizer();
  check_all_groups(names, config);
  const auto frozen = [&](const ParameterSize& parameter) { return is_frozen(parameter.name, config); };
  all.erase(std::remove_if(all.begin(), all.end(), frozen), all.end());
  if (all.empty()) throw ConfigError("train.optimizer.group freezes every parameter; leave one to train");
  return all;
}

// By the very rule of the buckets, on tensors without memory.
std::vector<int64_t> bucket_sizes(const StepJob& job) {
  std::vector<at::Tensor> shapes;
  for (const ParameterSize& parameter : trainable_sizes(job)) {
    shapes.push_back(at::empty({parameter.count}, at::TensorOptions(at::kFloat).device(at::kMeta)));
  }
  std::vector<int64_t> sizes;
  for (const Bucket& bucket : make_buckets(shapes, job.settings.comm.bucket_bytes()).buckets) {
    sizes.push_back(bucket.flat.numel());
  }
  return sizes;
}

double references_flop(const StepJob& job, int rank) {
  if (job.identities == 0) return 0;
  const ReferencesConfig& config = job.settings.references;
  const int64_t batch = job.settings.train.global_batch(), references = job.identities * config.per_identity();
  const bool sharded = shards_references(config, references, batch, job.world);
  const int64_t samples = 2 * (sharded ? batch : rows_of(job, rank));
  int64_t rows = sharded ? split_rows(references, job.world)[static_cast<size_t>(rank)] : references;
  if (config.negatives() == ReferencesConfig::BATCH) rows = std::min(rows, batch * config.per_identity());
  const int gradients = (config.guidance_weight() > 0 ? 1 : 0) + (config.fusion_weight() > 0 ? 1 : 0);
  const int scores = gradients > 0 && !is_one_tile(samples, rows) ? 2 : 1;
  return (scores + gradients) * 2.0 * to_double(samples) * to_double(rows) * job.settings.model.joint_width();
}

StepFlop step_flop(const StepJob& job, int rank) {
  const ModelConfig& model = job.settings.model;
  const std::vector<ParameterSize> trainable = trainable_sizes(job);
  const int64_t carried = carried_text_tokens(job);
  const TowerFlop image = image_pass_flop(job);
  const TowerFlop text =
      carried > 0 ? text_flop(model, carried, TowerTokens::kAll) : text_flop(model, job.caption_tokens);
  const int64_t rows = rows_of(job, rank), chunk = chunk_rows(job, rank), batch = job.settings.train.global_batch();
  const TowerFlop selection = selection_flop(model, job.caption_tokens);
  const double backward = (trains(trainable, "image.") ? image.backward : 0) +
                          (trains(trainable, "text.") ? text.backward : 0) +
                          (trains(trainable, "selection.") ? selection.backward : selection.forward);
  StepFlop flop;
  if (rows == 0) return flop;
  flop.forward = to_double(rows) * (image.forward + text.forward + selection.forward);
  flop.again = rows > chunk ? flop.forward : 0;
  flop.backward = to_double(rows) * backward;
  flop.last_backward = to_double(rows - (rows - 1) / chunk * chunk) * backward;
  for (const Term& term : job.settings.objective.term()) {
    Checks checks;
    const LossTerm loss = describe(term, "", checks);
    if (loss.whole) flop.loss += loss.whole->cost(rows, pair_width(model, term.pair())).flop;
  }
  const double products = is_one_tile(rows, batch) ? 3 : 4;
  for (const std::string& pair : pairs_of(job.settings.objective)) {
    const SampleRows of_sample = sample_rows(job, pair);
    const double cosines = to_double(rows * of_sample.image) * to_double(batch * of_sample.text);
    flop.loss += products * 2 * cosines * to_double(pair_width(model, pair));
  }
  flop.references = references_flop(job, rank);
  flop.heads = to_double(rows) * heads_flop(job);
  return flop;
}

StepTime step_time(const StepJob& job, const Machine& machine) {
  const StepFlop flop = step_flop(job, 0);
  StepTime time;
  time.compute = flop.sum() / machine.flops;
  double buckets = 0, last_bucket = 0, behind_loss = 0, texts = 0;
  for (const StepCall& call : step_calls(job, 0)) {
    const double call_seconds = seconds(call.traffic, machine);
    time.network += call_seconds;
    if (call.part == StepPart::kGradients) {
      buckets += call_seconds;
      last_bucket = call_seconds;
    } else if (call.name == "references.gradient") {
      behind_loss += call_seconds;
    } else if (call.name == "loss.text") {
      texts += call_seconds;
    } else {
      time.exposed += call_seconds;
    }
  }
  time.exposed += std::max(last_bucket, buckets - flop.last_backward / machine.flops);
  const double images = to_double(rows_of(job, 0)) * image_pass_flop(job).forward;
  time.exposed += std::max(0.0, texts - images / machine.flops);
  const double after_loss = flop.again + flop.backward + flop.heads;
  time.exposed += std::max(0.0, behind_loss - after_loss / machine.flops);
  time.step = time.compute + time.exposed;
  time.samples_per_second = to_double(job.settings.train.global_batch()) / time.step;
  if (job.world == 1) {
    time.efficiency = 1;
    return time;
  }
  StepJob alone = job;
  alone.world = 1;
  time.efficiency = time.samples_per_second / (job.world * step_time(alone, machine).samples_per_second);
  return time;
}

}  // namespace muster
