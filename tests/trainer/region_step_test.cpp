// The promise "exact" for a model of regions and words: N ranks x k chunks against one process with the whole batch,
// one graph and plain autograd over all pairs of sets, in float64.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <limits>
#include <mutex>
#include <string>
#include <vector>

#include "comm/gradient_reducer.h"
#include "comm/thread_communicator.h"
#include "trainer/encoders/model.h"
#include "trainer/losses/objective.h"
#include "trainer/optimizer.h"
#include "trainer/replica.h"
#include "trainer/step.h"

namespace muster {
namespace {

constexpr uint64_t kSeed = 7;
constexpr int64_t kWidth = 24, kVocabulary = 40, kContext = 10;
constexpr double kMargin = 0.3, kGlobalWeight = 0.6, kTaughtWeight = 1.7;

ModelConfig region_model(bool shared) {
  ModelConfig config;
  config.mutable_regions()->set_width(kWidth);
  config.mutable_regions()->set_layers(1);
  config.mutable_regions()->set_hidden(20);
  config.mutable_regions()->set_joint_layers(2);
  config.mutable_regions()->set_joint_hidden(12);
  config.mutable_regions()->set_shared_joint(shared);
  config.mutable_regions()->set_text_positions(12);
  config.mutable_text()->set_context(kContext);
  config.mutable_text()->set_vocabulary(kVocabulary);
  config.mutable_text()->set_width(16);
  config.mutable_text()->set_layers(2);
  config.mutable_text()->set_heads(2);
  config.set_joint_width(8);
  config.set_dropout(0.1);
  return resolve_model(config);
}

// 1 to 5 regions and 0 to 8 words a sample; identities come twice or thrice.
Batch make_batch(int64_t rows) {
  at::Generator generator = at::detail::createCPUGenerator(3);
  Batch batch;
  batch.region_counts = at::randint(1, 6, {rows}, generator, at::kLong);
  const int64_t regions = batch.region_counts.sum().item<int64_t>();
  batch.regions = at::rand({regions, kWidth}, generator, at::kFloat).to(at::kHalf);
  batch.boxes = at::rand({regions, 5}, generator, at::kFloat);
  batch.tokens = at::randint(4, kVocabulary, {rows, kContext}, generator, at::kLong);
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t count = 2 + at::randint(0, 9, {1}, generator, at::kLong).item<int64_t>();
    int64_t* ids = batch.tokens.mutable_data_ptr<int64_t>() + row * kContext;
    ids[0] = 2;
    ids[count - 1] = 3;
    std::fill(ids + count, ids + kContext, 0);
  }
  batch.identity = at::randint(rows / 2 + 1, {rows}, generator, at::kLong);
  batch.image_id = batch.position = at::arange(rows, at::kLong);
  return batch;
}

Objective three_terms(bool gathered) {
  Objective objective;
  if (!gathered) objective.mutable_alignment()->set_gathered_mib(0);
  for (const char* pair : {"alignment", "global"}) {
    Term* term = objective.add_term();
    term->set_pair(pair);
    term->mutable_triplet()->set_margin(kMargin);
    term->mutable_triplet()->set_reduction(SUM);
  }
  objective.mutable_term(1)->set_weight(kGlobalWeight);
  Term* taught = objective.add_term();
  taught->set_weight(kTaughtWeight);
  taught->mutable_list_net()->set_temperature(0.25);
  taught->mutable_list_net()->set_teacher_temperature(2);
  objective.mutable_alignment()->set_mode(AlignmentConfig::SYMM);
  return objective;
}

at::Tensor unit(const at::Tensor& rows) {
  return rows / rows.norm(2, {1}, true);
}

at::Tensor hinge(const at::Tensor& scores, const at::Tensor& same) {
  const at::Tensor negatives = scores.masked_fill(same, -std::numeric_limits<double>::infinity());
  at::Tensor sum = at::zeros({}, at::kDouble);
  for (const int64_t side : {0, 1}) {
    sum = sum + (kMargin - scores.diagonal() + std::get<0>(negatives.max(side))).clamp_min(0).sum();
  }
  return sum;
}

at::Tensor plain_loss(const Features& live, const at::Tensor& identity) {
  const at::Tensor same = identity.unsqueeze(1).eq(identity.unsqueeze(0));
  const FeaturePair &global = live.pairs.at(0), &sets = live.pairs.at(1);
  const at::Tensor all = at::matmul(unit(sets.image), unit(sets.text).t());
  std::vector<at::Tensor> scores;
  int64_t region = 0;
  for (const int64_t regions : sets.sets->image) {
    int64_t word = 0;
    for (const int64_t words : sets.sets->text) {
      const at::Tensor a = all.narrow(0, region, regions).narrow(1, word, words);
      scores.push_back(words == 0 ? at::zeros({}, at::kDouble)
                                  : std::get<0>(a.max(0)).sum() + std::get<0>(a.max(1)).sum());
      word += words;
    }
    region += regions;
  }
  const int64_t rows = identity.size(0);
  const at::Tensor matrix = at::stack(scores).view({rows, rows});
  const at::Tensor cosines = at::matmul(unit(global.image), unit(global.text).t());
  at::Tensor taught = at::zeros({}, at::kDouble);
  for (const int64_t side : {0, 1}) {
    const at::Tensor log_q = at::log_softmax(matrix.detach() / 2, side);
    taught = taught + (log_q.exp() * (log_q - at::log_softmax(cosines / 0.25, side))).sum() / rows;
  }
  return hinge(matrix, same) + kGlobalWeight * hinge(cosines, same) + kTaughtWeight * taught;
}

std::shared_ptr<Model> training_model(bool shared) {
  std::shared_ptr<Model> model = make_model(region_model(shared), kSeed);
  model->to(at::kDouble);
  model->train();
  return model;
}

TEST(RegionStep, EqualsOneProcessWithTheWholeBatch) {
  const Batch batch = make_batch(9);
  for (const bool shared : {false, true}) {
    const std::shared_ptr<Model> truth = training_model(shared);
    for (auto& parameter : truth->named_parameters())
      parameter.value().mutable_grad() = at::zeros_like(parameter.value());
    const at::Tensor loss = plain_loss(truth->forward(batch, kSeed), batch.identity);
    loss.backward();
    double largest = 0;
    for (const at::Tensor& parameter : truth->parameters()) {
      largest = std::max(largest, parameter.grad().abs().max().item<double>());
    }
    for (const int ranks : {1, 2, 4}) {
      for (const int64_t chunk : {0, 2}) {
        std::mutex mutex;
        run_ranks(ranks, [&](Communicator& communicator) {
          const std::shared_ptr<Model> model = training_model(shared);
          LossObjective objective(three_terms(chunk == 0));
          NamedParameters trainable;
          for (auto& parameter : model->named_parameters()) trainable.emplace_back(parameter.key(), parameter.value());
          OptimizerConfig sgd;
          sgd.set_kind(OptimizerConfig::SGD);
          Optimizer optimizer(trainable, sgd);
          GradientReducer reducer(trainable, communicator, 1 << 20);
          TrainingStep step(*model, objective, trainable, reducer, optimizer, communicator, {kSeed, chunk, 0, false});
          const Slice own = slice_of(batch.size(), {communicator.rank(), ranks});
          const StepResult result = step.compute_gradients(slice_batch(batch, own), {});
          const std::lock_guard lock(mutex);
          EXPECT_NEAR(result.loss, loss.item<double>(), 1e-10);
          for (const auto& [name, parameter] : trainable) {
            const at::Tensor expected = truth->named_parameters()[name].grad();
            EXPECT_LE((parameter.grad() - expected).abs().max().item<double>(), 1e-10 * largest)
                << name << ", " << ranks << " ranks, chunks of " << chunk;
          }
        });
      }
    }
  }
}

}  // namespace
}  // namespace muster
