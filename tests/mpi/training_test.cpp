// The promise "exact", for the whole step: a mini encoder over N ranks and k chunks against one process with the whole
// batch, one graph and plain autograd in float64.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/log_softmax.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "comm/gradient_reducer.h"
#include "comm/local_communicator.h"
#include "dataloader/batch.h"
#include "dataloader/random.h"
#include "launch/error.h"
#include "tests/mpi/step_fixture.h"
#include "trainer/encoders/model.h"
#include "trainer/losses/objective.h"
#include "trainer/optimizer.h"
#include "trainer/replica.h"
#include "trainer/step.h"

namespace muster {
namespace {

constexpr double kSdmTemperature = 0.05;
constexpr double kEpsilon = 1e-8;
const char* const kFrozen = "image.blocks.1.*";

Objective two_terms() {
  Objective objective;
  objective.mutable_logit_scale()->set_init(14.285714);
  objective.add_term()->mutable_info_nce()->set_positives(IDENTITY);
  Term* sdm = objective.add_term();
  sdm->set_weight(0.5);
  sdm->mutable_sdm()->set_temperature(kSdmTemperature);
  sdm->mutable_sdm()->set_epsilon(kEpsilon);
  return objective;
}

OptimizerConfig sgd() {
  OptimizerConfig config;
  config.set_kind(OptimizerConfig::SGD);
  config.set_rate(2e-3);
  ParameterGroup* frozen = config.add_group();
  frozen->set_name(kFrozen);
  frozen->set_freeze(true);
  return config;
}

// The loss as its formulas say it, with B x B matrices and autograd.
at::Tensor plain_loss(const Features& features, const at::Tensor& identity, const at::Tensor& log_scale) {
  const auto unit = [](const at::Tensor& rows) { return rows / rows.norm(2, {1}, true); };
  const at::Tensor cosines = at::matmul(unit(features.pairs[0].image), unit(features.pairs[0].text).t());
  const at::Tensor same = identity.unsqueeze(1).eq(identity.unsqueeze(0)).to(cosines.dtype());
  const at::Tensor targets = same / same.sum(1, true);
  const auto rows = static_cast<double>(identity.size(0));
  at::Tensor info_nce = at::zeros({}, cosines.options()), sdm = at::zeros({}, cosines.options());
  for (const at::Tensor& matrix : {cosines, cosines.t()}) {
    info_nce = info_nce - (targets * at::log_softmax(matrix * log_scale.exp(), 1)).sum() / rows / 2;
    const at::Tensor logits = matrix / kSdmTemperature;
    sdm = sdm + (at::softmax(logits, 1) * (at::log_softmax(logits, 1) - (targets + kEpsilon).log())).sum() / rows;
  }
  return info_nce + 0.5 * sdm;
}

// A model with a parameter that no sample uses.
std::shared_ptr<Model> make_test_model(at::ScalarType dtype) {
  std::shared_ptr<Model> model = make_model(small_model(), kSeed);
  model->register_parameter("unused", at::ones({5}, at::kFloat));
  model->to(dtype);
  model->train();
  return model;
}

// One process, the whole batch, float64, one graph, plain SGD. The logit scale starts where Muster keeps it, in
// float32.
class Reference {
 public:
  Reference()
      : model_(make_test_model(at::kDouble)),
        log_scale_(at::full({}, static_cast<float>(std::log(14.285714)), at::kDouble)) {
    log_scale_.set_requires_grad(true);
    for (auto& parameter : model_->named_parameters()) {
      if (is_frozen(parameter.key(), sgd())) parameter.value().set_requires_grad(false);
    }
  }

  double step(Batch batch) {
    for (auto& [name, parameter] : parameters()) parameter.mutable_grad() = at::zeros_like(parameter);
    batch.images = batch.images.to(at::kDouble);
    const at::Tensor loss = plain_loss(model_->forward(batch, kSeed), batch.identity, log_scale_);
    loss.backward();
    return loss.item<double>();
  }

  void descend() {
    const at::NoGradGuard no_grad;
    for (auto& [name, parameter] : parameters()) parameter.sub_(parameter.grad() * sgd().rate());
  }

  NamedParameters parameters() const {
    NamedParameters all;
    for (auto& parameter : model_->named_parameters()) {
      if (parameter.value().requires_grad()) all.emplace_back(parameter.key(), parameter.value());
    }
    all.emplace_back("objective.log_scale", log_scale_);
    return all;
  }

 private:
  std::shared_ptr<Model> model_;
  at::Tensor log_scale_;
};

// Muster's own step on this rank.
class Subject {
 public:
  Subject(Communicator& communicator, int64_t chunk, at::ScalarType dtype = at::kFloat, bool bf16 = false)
      : communicator_(communicator),
        dtype_(dtype),
        model_(make_test_model(dtype)),
        objective_(two_terms()),
        trainable_(take_trainable()),
        optimizer_(trainable_, sgd()),
        reducer_(trainable_, communicator, 1 << 20),
        step_(*model_, objective_, trainable_, reducer_, optimizer_, communicator, {kSeed, chunk, 0, bf16}) {}

  StepResult gradients(const Batch& whole) { return step_.compute_gradients(own_rows(whole), {}); }
  StepResult step(const Batch& whole) { return step_.run(own_rows(whole), {}, 1.0); }
  const NamedParameters& parameters() const { return trainable_; }
  at::Tensor frozen() const { return model_->named_parameters()["image.blocks.1.attention.qkv.weight"]; }

 private:
  Batch own_rows(const Batch& whole) const {
    Batch rows = rows_of_rank(whole, communicator_);
    rows.images = rows.images.to(dtype_);
    return rows;
  }

  NamedParameters take_trainable() {
    NamedParameters trainable;
    for (auto& parameter : model_->named_parameters()) {
      if (is_frozen(parameter.key(), sgd())) {
        parameter.value().set_requires_grad(false);
      } else {
        trainable.emplace_back(parameter.key(), parameter.value());
      }
    }
    for (const auto& parameter : objective_.parameters()) trainable.push_back(parameter);
    return trainable;
  }

  Communicator& communicator_;
  at::ScalarType dtype_;
  std::shared_ptr<Model> model_;
  LossObjective objective_;
  NamedParameters trainable_;
  Optimizer optimizer_;
  GradientReducer reducer_;
  TrainingStep step_;
};

class TrainingTest : public StepTest {};

// Compares every parameter's gradient at 1, 2 and 3 chunks a rank.
void expect_every_gradient_exact(Communicator& communicator, at::ScalarType dtype, double bound) {
  const Batch batch = make_batch(small_model(), 13, 0);
  Reference reference;
  const double loss = reference.step(batch);
  const NamedParameters truth = reference.parameters();
  double largest = 0;
  for (const auto& parameter : truth) largest = std::max(largest, parameter.second.grad().abs().max().item<double>());
  for (const int64_t chunks : {1, 2, 3}) {
    const int64_t rows = split_rows(batch.size(), communicator.size())[0];
    Subject subject(communicator, chunks == 1 ? 0 : (rows + chunks - 1) / chunks, dtype);
    const StepResult result = subject.gradients(batch);
    EXPECT_NEAR(result.loss, loss, bound * std::abs(loss));
    ASSERT_EQ(subject.parameters().size(), truth.size());
    for (size_t i = 0; i < truth.size(); ++i) {
      const auto& [name, parameter] = subject.parameters()[i];
      ASSERT_EQ(name, truth[i].first);
      // The logit scale is kept, and so its gradient given, in float32.
      const double parameter_bound = parameter.scalar_type() == at::kFloat ? std::max(bound, 1e-6) : bound;
      EXPECT_LE(relative_error(parameter.grad(), truth[i].second.grad(), 1e-3 * largest), parameter_bound)
          << name << ", " << chunks << " chunks, rank " << communicator.rank();
    }
  }
}

TEST_F(TrainingTest, EveryGradientEqualsTheWholeBatchInOneProcess) {
  expect_every_gradient_exact(*communicator_, at::kFloat, 2e-5);
}

TEST_F(TrainingTest, EveryGradientEqualsTheWholeBatchInOneProcessInFloat64) {
  expect_every_gradient_exact(*communicator_, at::kDouble, 1e-12);
}

// The largest relative error of any parameter's gradient.
double largest_error(const Subject& subject, const Subject& truth) {
  double largest = 0, error = 0;
  for (const auto& parameter : truth.parameters()) {
    largest = std::max(largest, parameter.second.grad().abs().max().item<double>());
  }
  for (size_t i = 0; i < truth.parameters().size(); ++i) {
    error = std::max(error, relative_error(subject.parameters()[i].second.grad(),
                                           truth.parameters()[i].second.grad().to(at::kDouble), 1e-2 * largest));
  }
  return error;
}

// In bfloat16 a row's last bits depend on how many rows are multiplied with it: eight bits of them, so the gate is
// wide. That the encoders do compute in it shows beside float32.
TEST_F(TrainingTest, Bf16GradientsAreNearThoseOfOneProcess) {
  const Batch batch = make_batch(small_model(), 13, 0);
  LocalCommunicator local;
  Subject alone(local, 0, at::kFloat, true), alone_in_float32(local, 0), together(*communicator_, 3, at::kFloat, true);
  alone.gradients(batch);
  alone_in_float32.gradients(batch);
  together.gradients(batch);
  EXPECT_LE(largest_error(together, alone), 0.05);
  EXPECT_GE(largest_error(alone, alone_in_float32), 1e-3);
}

TEST_F(TrainingTest, WeightsAfterFiveSgdStepsEqualTheWholeBatchInOneProcess) {
  Reference reference;
  Subject subject(*communicator_, 3);
  const at::Tensor frozen_before = subject.frozen().clone();
  for (int64_t step = 0; step < 5; ++step) {
    const Batch batch = make_batch(small_model(), 11, step);
    const double loss = reference.step(batch);
    reference.descend();
    EXPECT_NEAR(subject.step(batch).loss, loss, 2e-5 * std::abs(loss));
  }
  const NamedParameters truth = reference.parameters();
  double largest = 0;
  for (const auto& parameter : truth) largest = std::max(largest, parameter.second.abs().max().item<double>());
  for (size_t i = 0; i < truth.size(); ++i) {
    EXPECT_LE(relative_error(subject.parameters()[i].second, truth[i].second, 1e-3 * largest), 1e-5) << truth[i].first;
  }
  EXPECT_TRUE(subject.frozen().equal(frozen_before));
}

TEST_F(TrainingTest, MoreRanksThanRowsIsStillExact) {
  const Batch batch = make_batch(small_model(), 2, 0);
  Reference reference;
  const double loss = reference.step(batch);
  Subject subject(*communicator_, 0);
  EXPECT_NEAR(subject.gradients(batch).loss, loss, 2e-5 * std::abs(loss));
}

TEST_F(TrainingTest, ALossThatIsNotFiniteStopsEveryRankBeforeAnyWeightChanges) {
  Batch batch = make_batch(small_model(), 8, 0);
  batch.images.index_put_({0, 0, 0, 0}, std::numeric_limits<float>::quiet_NaN());
  Subject subject(*communicator_, 0);
  std::vector<at::Tensor> before;
  for (const auto& parameter : subject.parameters()) before.push_back(parameter.second.detach().clone());
  EXPECT_THROW(subject.step(batch), NonFiniteError);
  for (size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(before[i].equal(subject.parameters()[i].second));
}

}  // namespace
}  // namespace muster
