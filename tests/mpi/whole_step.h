// A whole training step against one process with the whole batch, one graph and plain autograd in float64: what says
// that the promise "exact" holds, on whatever device and communicator.
#pragma once

#include <ATen/core/grad_mode.h>
#include <ATen/ops/full.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "comm/gradient_reducer.h"
#include "dataloader/batch.h"
#include "tests/mpi/step_fixture.h"
#include "trainer/encoders/model.h"
#include "trainer/losses/objective.h"
#include "trainer/optimizer.h"
#include "trainer/replica.h"
#include "trainer/step.h"

namespace muster {

constexpr double kSdmTemperature = 0.05;
constexpr double kEpsilon = 1e-8;
inline const char* const kFrozen = "image.blocks.1.*";

inline Objective two_terms() {
  Objective objective;
  objective.mutable_logit_scale()->set_init(14.285714);
  objective.add_term()->mutable_info_nce()->set_positives(IDENTITY);
  Term* sdm = objective.add_term();
  sdm->set_weight(0.5);
  sdm->mutable_sdm()->set_temperature(kSdmTemperature);
  sdm->mutable_sdm()->set_epsilon(kEpsilon);
  return objective;
}

inline OptimizerConfig sgd() {
  OptimizerConfig config;
  config.set_kind(OptimizerConfig::SGD);
  config.set_rate(2e-3);
  ParameterGroup* frozen = config.add_group();
  frozen->set_name(kFrozen);
  frozen->set_freeze(true);
  return config;
}

// The loss as its formulas say it, with B x B matrices and autograd.
inline at::Tensor plain_loss(const Features& features, const at::Tensor& identity, const at::Tensor& log_scale) {
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
inline std::shared_ptr<Model> make_test_model(at::ScalarType dtype, at::Device device = at::kCPU) {
  std::shared_ptr<Model> model = make_model(small_model(), kSeed);
  model->register_parameter("unused", at::ones({5}, at::kFloat));
  model->to(dtype);
  model->to(device);
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
  Subject(Communicator& communicator, int64_t chunk, at::ScalarType dtype = at::kFloat, bool bf16 = false,
          at::Device device = at::kCPU)
      : communicator_(communicator),
        dtype_(dtype),
        model_(make_test_model(dtype, device)),
        objective_(two_terms(), loss_device(device, bf16)),
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

// Compares every parameter's gradient at 1, 2 and 3 chunks a rank.
inline void expect_every_gradient_exact(Communicator& communicator, at::ScalarType dtype, double bound,
                                        at::Device device = at::kCPU) {
  const Batch batch = make_batch(small_model(), 13, 0);
  Reference reference;
  const double loss = reference.step(batch);
  const NamedParameters truth = reference.parameters();
  double largest = 0;
  for (const auto& parameter : truth) largest = std::max(largest, parameter.second.grad().abs().max().item<double>());
  for (const int64_t chunks : {1, 2, 3}) {
    const int64_t rows = split_rows(batch.size(), communicator.size())[0];
    Subject subject(communicator, chunks == 1 ? 0 : (rows + chunks - 1) / chunks, dtype, false, device);
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

// The largest relative error of any parameter's gradient.
inline double largest_error(const Subject& subject, const Subject& truth) {
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

// Weights after five steps of plain descent.
inline void expect_weights_exact(Communicator& communicator, double bound, at::Device device = at::kCPU) {
  Reference reference;
  Subject subject(communicator, 3, at::kFloat, false, device);
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
    EXPECT_LE(relative_error(subject.parameters()[i].second, truth[i].second, 1e-3 * largest), bound) << truth[i].first;
  }
  EXPECT_TRUE(subject.frozen().equal(frozen_before));
}

}  // namespace muster
