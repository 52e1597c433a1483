#include "trainer/step.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros_like.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>

#include "comm/background_poll.h"
#include "launch/error.h"
#include "trainer/backward_order.h"
#include "trainer/encoders/autocast.h"
#include "trainer/feature_rows.h"

namespace muster {
namespace {

// A slice without rows is one chunk without rows: its features give the losses their width and dtype.
std::vector<Slice> cut_into_chunks(int64_t rows, int64_t chunk) {
  if (chunk <= 0 || rows <= chunk) return {{0, rows}};
  std::vector<Slice> chunks;
  for (int64_t begin = 0; begin < rows; begin += chunk) chunks.push_back({begin, std::min(chunk, rows - begin)});
  return chunks;
}

std::vector<at::Tensor> outputs_of(const Features& features) {
  std::vector<at::Tensor> outputs;
  for (const FeaturePair& pair : features.pairs) outputs.insert(outputs.end(), {pair.image, pair.text});
  for (const FeatureCut& cut : features.cuts) outputs.push_back(cut.before);
  return outputs;
}

bool is_behind_cut(const at::Tensor& output, const Features& live) {
  return std::any_of(live.cuts.begin(), live.cuts.end(),
                     [&](const FeatureCut& cut) { return cut.feature.is_same(output); });
}

// Gradients that are final before the last backward, of which no hook tells the reducer: the buckets that hold them,
// the first of all, would wait for finish().
void arm_reducer(GradientReducer& reducer, const std::vector<at::Tensor>& final, const NamedParameters& trainable) {
  reducer.arm();
  for (const at::Tensor& parameter : final) {
    const bool trained = std::any_of(trainable.begin(), trainable.end(),
                                     [&](const auto& other) { return other.second.is_same(parameter); });
    if (trained) reducer.mark_ready(parameter);
  }
}

std::string no_memory_left(at::Device device, int64_t chunk, int64_t rows) {
  const int64_t made = chunk > 0 ? std::min(chunk, rows) : rows;
  const std::string where = device.is_cpu() ? "this host" : fmt::format("GPU {}", static_cast<int>(device.index()));
  return fmt::format("{} has no memory left for chunks of {} (of {} rows a rank): {}", where, made, rows,
                     made > 1 ? fmt::format("set train.chunk={}, which changes no result", (made + 1) / 2)
                              : "one row is the least; take a smaller model, or train.precision=BF16");
}

// Through what is one over the rows of all ranks. Collective.
void backward_behind_cuts(const Features& live, const Features& gradient) {
  for (const FeatureCut& cut : live.cuts) {
    for (size_t pair = 0; pair < live.pairs.size(); ++pair) {
      const FeaturePair &forward = live.pairs[pair], &back = gradient.pairs[pair];
      if (forward.image.is_same(cut.feature)) torch::autograd::backward({cut.feature}, {back.image});
      if (forward.text.is_same(cut.feature)) torch::autograd::backward({cut.feature}, {back.text});
    }
  }
}

// Sends dL/dfeatures of these rows, and the heads' loss of them (may be undefined), back through the chunk's graphs at
// once: a parameter's hook runs when both have reached it.
void backward(const Features& live, const Features& gradient, const at::Tensor& head_loss, Slice rows) {
  torch::autograd::variable_list outputs, gradients;
  for (size_t pair = 0; pair < live.pairs.size(); ++pair) {
    const FeaturePair& forward = live.pairs[pair];
    const FeaturePair part = part_of(gradient.pairs[pair], rows);
    for (const auto& [output, of_output] : {std::pair{forward.image, part.image}, std::pair{forward.text, part.text}}) {
      if (!output.requires_grad() || is_behind_cut(output, live)) continue;  // a frozen tower; is through already
      outputs.push_back(output);
      gradients.push_back(of_output);
    }
  }
  for (const FeatureCut& cut : live.cuts) {
    if (!cut.before.requires_grad()) continue;
    outputs.push_back(cut.before);
    gradients.push_back(cut.start.grad());
  }
  if (head_loss.defined()) {
    outputs.push_back(head_loss);
    gradients.emplace_back();
  }
  if (rows.count > 0 && !outputs.empty()) torch::autograd::backward(outputs, gradients);
}

}  // namespace

Batch slice_batch(const Batch& batch, Slice rows) {
  if (rows.count == batch.size()) return batch;
  const auto cut = [&](const at::Tensor& tensor) {
    return tensor.defined() ? tensor.narrow(0, rows.first, rows.count) : at::Tensor();
  };
  Batch part{cut(batch.images), cut(batch.tokens), cut(batch.identity), cut(batch.image_id), cut(batch.position)};
  if (!batch.regions.defined()) return part;
  part.region_counts = cut(batch.region_counts);
  const int64_t begin = batch.region_counts.narrow(0, 0, rows.first).sum().item<int64_t>();
  const int64_t size = part.region_counts.sum().item<int64_t>();
  part.regions = batch.regions.narrow(0, begin, size);
  part.boxes = batch.boxes.narrow(0, begin, size);
  return part;
}

StepOptions step_options(const TrainConfig& config, TraceRecorder* trace) {
  return {config.seed(), config.chunk(), config.clip_norm(), config.precision() == TrainConfig::BF16, trace};
}

TrainingStep::TrainingStep(Model& model, LossObjective& objective, NamedParameters trainable, GradientReducer& reducer,
                           Optimizer& optimizer, Communicator& communicator, const StepOptions& options,
                           ReferenceBank* references, HeadLosses* heads)
    : model_(model),
      device_(model.device()),
      objective_(objective),
      trainable_(std::move(trainable)),
      reducer_(reducer),
      optimizer_(optimizer),
      communicator_(communicator),
      options_(options),
      references_(references),
      heads_(heads) {
  if (heads_ != nullptr && heads_->need_references() && references_ == nullptr) {
    throw std::logic_error("TrainingStep: a head needs references, and there is no bank");
  }
  model_.join(communicator_);
}

std::vector<std::string> TrainingStep::term_names() const {
  std::vector<std::string> names = objective_.term_names();
  if (references_ != nullptr) names.emplace_back("references");
  if (heads_ != nullptr) {
    for (const std::string& name : heads_->names()) names.push_back(name);
  }
  return names;
}

TokenRequest TrainingStep::tokens() const {
  return heads_ != nullptr ? heads_->tokens() : TokenRequest();
}

// Texts of all chunks, then images of all: without a graph nothing is kept of a chunk but its features.
TrainingStep::Encoded TrainingStep::encode(const std::vector<Batch>& chunks, const Labels& labels) {
  const at::AutoGradMode graph(chunks.size() == 1);
  const Bf16Scope precision(options_.bf16, device_.type());
  Encoded encoded;
  BackwardOrder order;
  std::vector<ForwardPass> passes;
  for (const Batch& chunk : chunks) {
    const TraceSpan span(options_.trace, "forward texts", {"rows", chunk.size()});
    passes.push_back(model_.begin_forward(chunk, options_.seed, tokens()));
  }
  std::vector<const Features*> texts, images;
  for (const ForwardPass& pass : passes) texts.push_back(&pass.texts);
  encoded.features = join_texts(texts);
  {
    const TraceSpan span(options_.trace, "send texts");
    encoded.gathering = objective_.begin(encoded.features, labels, communicator_);
  }
  order.second_begins();
  const BackgroundPoll poll(communicator_);
  for (size_t i = 0; i < chunks.size(); ++i) {
    const TraceSpan span(options_.trace, "forward images", {"rows", chunks[i].size()});
    encoded.live.push_back(passes[i].finish());
    order.exchange(outputs_of(encoded.live.back()));
    if (chunks.size() > 1) {
      encoded.live.back().text_tokens.reset();
      encoded.live.back().image_tokens.reset();
    }
  }
  for (const Features& live : encoded.live) images.push_back(&live);
  add_images(images, encoded.features);
  return encoded;
}

Features TrainingStep::forward_again(const Batch& chunk) {
  const TraceSpan span(options_.trace, "forward", {"rows", chunk.size()});
  const Bf16Scope precision(options_.bf16, device_.type());
  BackwardOrder order;
  const ForwardPass pass = model_.begin_forward(chunk, options_.seed, tokens());
  order.second_begins();
  Features features = pass.finish();
  order.exchange(outputs_of(features));
  return features;
}

StepResult TrainingStep::compute_gradients(const Batch& batch, const Progress& progress, const at::Tensor& weight) {
  reducer_.zero();
  const std::vector<Slice> rows = cut_into_chunks(batch.size(), options_.chunk);
  std::vector<Batch> chunks;
  for (const Slice of_chunk : rows) chunks.push_back(slice_batch(batch, of_chunk));
  const Labels labels{batch.identity, batch.image_id, batch.position, weight};
  Encoded encoded = encode(chunks, labels);
  std::vector<Features> live = chunks.size() == 1 ? std::move(encoded.live) : std::vector<Features>();
  LossResult loss = evaluate(std::move(encoded), labels, progress);
  const auto& own = objective_.parameters();
  for (size_t i = 0; i < own.size(); ++i) own[i].second.mutable_grad().add_(loss.parameter_grads[i]);
  begin_heads(batch, progress);
  for (size_t i = 0; i < chunks.size(); ++i) {
    const Features features = live.empty() ? forward_again(chunks[i]) : std::move(live[i]);
    const at::Tensor head_loss = head_losses(chunks[i], features, rows[i].first);
    const TraceSpan span(options_.trace, "backward", {"rows", chunks[i].size()});
    backward_behind_cuts(features, loss.gradient);
    if (i + 1 == chunks.size()) arm_reducer(reducer_, final_before_backward(), trainable_);
    backward(features, loss.gradient, head_loss, rows[i]);
  }
  finish_heads(loss);
  {
    const TraceSpan span(options_.trace, "reduce");
    reducer_.finish();
  }
  const TraceSpan span(options_.trace, "norm");
  double norm = global_norm(trainable_);
  if (references_ != nullptr) norm = std::sqrt(norm * norm + references_->finish_gradient());
  return {loss.value, loss.terms, norm, reducer_.exposed_seconds()};
}

std::vector<at::Tensor> TrainingStep::final_before_backward() const {
  std::vector<at::Tensor> final = model_.parameters_behind_cuts();
  for (const auto& [name, parameter] : objective_.parameters()) final.push_back(parameter);
  return final;
}

LossResult TrainingStep::evaluate(Encoded encoded, const Labels& labels, const Progress& progress) {
  const TraceSpan span(options_.trace, "loss");
  LossResult loss =
      objective_.evaluate(encoded.features, labels, progress, std::move(encoded.gathering), communicator_);
  if (references_ != nullptr) add_references(encoded.features, labels, progress, loss);
  return loss;
}

void TrainingStep::add_references(const Features& features, const Labels& labels, const Progress& progress,
                                  LossResult& loss) {
  const size_t pair = references_->find_pair(features);
  const ReferenceResult result = references_->evaluate(features.pairs[pair], labels, progress);
  loss.value += result.weighted;
  loss.terms.push_back(result.value);
  FeaturePair& gradient = loss.gradient.pairs[pair];
  if (result.d_image.defined()) gradient.image.add_(result.d_image);
  if (result.d_text.defined()) gradient.text.add_(result.d_text);
}

void TrainingStep::begin_heads(const Batch& batch, const Progress& progress) {
  if (heads_ == nullptr) return;
  at::Tensor references;
  if (heads_->need_references()) references = references_->rows_of_batch();
  heads_->begin(batch, progress.epoch, options_.seed, references);
}

at::Tensor TrainingStep::head_losses(const Batch& rows, const Features& live, int64_t first) {
  if (heads_ == nullptr) return {};
  const TraceSpan span(options_.trace, "heads", {"rows", rows.size()});
  const Bf16Scope precision(options_.bf16, device_.type());
  return heads_->forward(rows, live, first);
}

void TrainingStep::finish_heads(LossResult& loss) {
  if (heads_ == nullptr) return;
  const TraceSpan span(options_.trace, "heads");
  const HeadValues values = heads_->finish();
  loss.value += values.weighted;
  loss.terms.insert(loss.terms.end(), values.means.begin(), values.means.end());
  const at::Tensor d_references = heads_->reference_gradients();
  if (d_references.defined()) references_->add_row_gradients(d_references);
}

void TrainingStep::rehearse(const Batch& rows) {
  const Features features = forward_again(rows);
  Features gradient;
  for (const FeaturePair& pair : features.pairs) {
    gradient.pairs.push_back({pair.name, at::zeros_like(pair.image), at::zeros_like(pair.text), pair.sets});
  }
  at::Tensor head_loss;
  if (heads_ != nullptr) {
    const Bf16Scope precision(options_.bf16, device_.type());
    head_loss = heads_->rehearse(rows, features, at::zeros_like(gradient.pairs[0].text), options_.seed);
  }
  backward(features, gradient, head_loss, {0, rows.size()});
  reducer_.zero();
}

StepResult TrainingStep::run(const Batch& batch, const Progress& progress, double rate_factor,
                             const at::Tensor& weight) {
  try {
    return run_in_memory(batch, progress, rate_factor, weight);
  } catch (const c10::OutOfMemoryError&) {
    throw ConfigError(no_memory_left(device_, options_.chunk, batch.size()));
  }
}

StepResult TrainingStep::run_in_memory(const Batch& batch, const Progress& progress, double rate_factor,
                                       const at::Tensor& weight) {
  std::vector<at::Tensor> buffers;  // which a forward pass changes
  for (const at::Tensor& buffer : model_.buffers()) buffers.push_back(buffer.clone());
  const StepResult result = compute_gradients(batch, progress, weight);
  if (!result.is_finite()) {
    for (size_t i = 0; i < buffers.size(); ++i) model_.buffers()[i].copy_(buffers[i]);
    return result;
  }
  const bool clip = options_.clip_norm > 0 && result.gradient_norm > options_.clip_norm;
  const TraceSpan span(options_.trace, "optimizer");
  const double gradient_scale = clip ? options_.clip_norm / result.gradient_norm : 1.0;
  optimizer_.step(rate_factor, gradient_scale);
  if (references_ != nullptr) references_->step(rate_factor, gradient_scale);
  objective_.clamp();
  return result;
}

}  // namespace muster
