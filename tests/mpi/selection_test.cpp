// The promise "exact" for a model that selects tokens, whose batch norm is over the rows of all ranks: N ranks, also
// ranks without rows, against one process with the whole batch in float64; weights of samples included.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "comm/gradient_reducer.h"
#include "tests/mpi/step_fixture.h"
#include "trainer/encoders/model.h"
#include "trainer/losses/objective.h"
#include "trainer/optimizer.h"
#include "trainer/replica.h"
#include "trainer/step.h"

namespace muster {
namespace {

constexpr double kTemperature = 0.1, kMargin = 0.3, kSelectedWeight = 0.6;

ModelConfig selecting_model(bool padding) {
  ModelConfig config = small_model();
  config.mutable_text()->set_vocabulary(600);
  config.mutable_token_selection()->set_width(48);
  config.mutable_token_selection()->set_padding(padding);
  return resolve_model(config);
}

Objective two_tals() {
  Objective objective;
  for (const char* pair : {"global", "selected"}) {
    Term* term = objective.add_term();
    term->set_pair(pair);
    term->mutable_tal()->set_temperature(kTemperature);
    term->mutable_tal()->set_margin(kMargin);
  }
  objective.mutable_term(1)->set_weight(kSelectedWeight);
  return objective;
}

// Every third sample counts half, every fifth not at all.
at::Tensor weights_of(const Batch& batch) {
  const at::Tensor weights = at::zeros({batch.size()}, at::kDouble);
  for (int64_t row = 0; row < batch.size(); ++row) {
    const int64_t position = batch.position.const_data_ptr<int64_t>()[row];
    weights.mutable_data_ptr<double>()[row] = position % 5 == 4 ? 0 : position % 3 == 2 ? 0.5 : 1;
  }
  return weights;
}

at::Tensor unit(const at::Tensor& rows) {
  return rows / rows.norm(2, {1}, true);
}

// compute_TAL_per of RDE's code, with B x B matrices.
at::Tensor plain_tal(const FeaturePair& pair, const at::Tensor& identity, const at::Tensor& weights) {
  const at::Tensor scores = at::matmul(unit(pair.text), unit(pair.image).t());
  const at::Tensor same = identity.unsqueeze(1).eq(identity.unsqueeze(0)).to(at::kDouble);
  at::Tensor sum = at::zeros({}, at::kDouble);
  for (const at::Tensor& s : {scores, scores.t()}) {
    const at::Tensor e = (s / kTemperature).exp();
    const at::Tensor alpha = (e * same / (e * same).sum(1, true)).detach();
    const at::Tensor negatives = kTemperature * (e * (1 - same)).sum(1).log();
    sum = sum + (weights * (kMargin - (alpha * s).sum(1) + negatives).clamp_min(0)).sum();
  }
  return sum;
}

std::shared_ptr<Model> make_double_or_float(bool padding, at::ScalarType dtype) {
  std::shared_ptr<Model> model = make_model(selecting_model(padding), kSeed);
  model->to(dtype);
  model->train();
  return model;
}

struct Truth {
  double loss = 0;
  NamedParameters parameters;
  NamedTensors buffers;
  at::Tensor images, texts;  // embeddings after the step
  std::shared_ptr<Model> model;
};

Truth whole_batch(bool padding, Batch batch) {
  Truth truth;
  truth.model = make_double_or_float(padding, at::kDouble);
  batch.images = batch.images.to(at::kDouble);
  for (auto& parameter : truth.model->named_parameters()) {
    parameter.value().mutable_grad() = at::zeros_like(parameter.value());
    truth.parameters.emplace_back(parameter.key(), parameter.value());
  }
  const Features live = truth.model->forward(batch, kSeed);
  const at::Tensor weights = weights_of(batch);
  const at::Tensor loss = plain_tal(live.pairs[0], batch.identity, weights) +
                          kSelectedWeight * plain_tal(live.pairs[1], batch.identity, weights);
  loss.backward({}, /*retain_graph=*/true);
  for (const FeatureCut& cut : live.cuts) cut.before.backward(cut.start.grad(), /*retain_graph=*/true);
  truth.loss = loss.item<double>();
  for (const auto& buffer : truth.model->named_buffers()) truth.buffers.emplace_back(buffer.key(), buffer.value());
  truth.model->eval();
  const at::NoGradGuard no_graph;
  truth.images = truth.model->encode_image(batch);
  truth.texts = truth.model->encode_text(batch.tokens);
  return truth;
}

class SelectionTest : public StepTest {};

void expect_exact(bool padding, int64_t batch_rows, Communicator& communicator, at::ScalarType dtype, double bound) {
  const Batch batch = make_batch(selecting_model(padding), batch_rows, 0);
  const Truth truth = whole_batch(padding, batch);
  double largest = 0;
  for (const auto& [name, parameter] : truth.parameters) {
    largest = std::max(largest, parameter.grad().abs().max().item<double>());
  }
  const std::shared_ptr<Model> model = make_double_or_float(padding, dtype);
  LossObjective objective(two_tals());
  const NamedParameters trainable = take_trainable(*model, objective, OptimizerConfig());
  Optimizer optimizer(trainable, OptimizerConfig());
  GradientReducer reducer(trainable, communicator, 1 << 16);
  TrainingStep step(*model, objective, trainable, reducer, optimizer, communicator, {kSeed});
  Batch rows = rows_of_rank(batch, communicator);
  rows.images = rows.images.to(dtype);
  const StepResult result = step.compute_gradients(rows, {}, weights_of(rows));
  const std::string where = "padding " + std::to_string(padding) + ", " + std::to_string(batch_rows) + " rows, rank " +
                            std::to_string(communicator.rank());
  EXPECT_NEAR(result.loss, truth.loss, bound * std::abs(truth.loss)) << where;
  ASSERT_EQ(trainable.size(), truth.parameters.size());
  for (size_t i = 0; i < trainable.size(); ++i) {
    const auto& [name, expected] = truth.parameters[i];
    ASSERT_EQ(trainable[i].first, name);
    // Batch norm takes away whatever is the same in all rows: this gradient is 0 but for rounding.
    const bool vanishes = name.find("hidden.bias") != std::string::npos;
    const double floor = vanishes ? largest : 1e-3 * largest;
    EXPECT_LE(relative_error(trainable[i].second.grad(), expected.grad(), floor), bound) << name << ", " << where;
  }
  for (const auto& [name, expected] : truth.buffers) {
    EXPECT_LE(relative_error(model->named_buffers()[name], expected, 1e-3), bound) << name << ", " << where;
  }
  model->eval();
  const at::NoGradGuard no_graph;
  Batch in_dtype = batch;
  in_dtype.images = batch.images.to(dtype);
  EXPECT_LE(relative_error(model->encode_image(in_dtype), truth.images, 1e-3), bound) << where;
  EXPECT_LE(relative_error(model->encode_text(batch.tokens), truth.texts, 1e-3), bound) << where;
}

TEST_F(SelectionTest, EveryGradientEqualsTheWholeBatchInOneProcess) {
  for (const bool padding : {false, true}) {
    for (const int64_t rows : {13, 3}) expect_exact(padding, rows, *communicator_, at::kFloat, 2e-5);
  }
}

TEST_F(SelectionTest, EveryGradientEqualsTheWholeBatchInOneProcessInFloat64) {
  for (const bool padding : {false, true}) {
    for (const int64_t rows : {13, 3}) expect_exact(padding, rows, *communicator_, at::kDouble, 1e-12);
  }
}

}  // namespace
}  // namespace muster
