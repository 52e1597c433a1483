// The promise "exact" for a step with a reference bank and heads, of which one reads it: N ranks and k chunks against
// one process with the whole batch, one graph and plain autograd in float64.
#include <ATen/ops/empty_like.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "comm/gradient_reducer.h"
#include "comm/local_communicator.h"
#include "launch/error.h"
#include "tests/mpi/step_fixture.h"
#include "trainer/encoders/model.h"
#include "trainer/heads/head_losses.h"
#include "trainer/heads/identity_classifier.h"
#include "trainer/heads/image_restoration.h"
#include "trainer/heads/masked_words.h"
#include "trainer/losses/objective.h"
#include "trainer/optimizer.h"
#include "trainer/replica.h"
#include "trainer/step.h"

namespace muster {
namespace {

constexpr double kFusion = 0.8, kGuidance = 1.2, kTemperature = 0.1;
constexpr double kWords = 0.6, kRestoration = 0.7, kClassifier = 0.4;
constexpr int64_t kIdentities = 11;

struct Setting {
  const char* name;
  ReferencesConfig::Placement placement;
  ReferencesConfig::Negatives negatives;
  double fusion;
  MaskedWordsConfig::Output output;
  int reference_tokens;
  bool words = true;
  bool sen = false;      // image restoration and identity classifier
  bool padding = false;  // as its published code
  bool image = false;    // words look at the image
};

const Setting kSettings[] = {
    {"replicated", ReferencesConfig::REPLICATED, ReferencesConfig::BANK, kFusion, MaskedWordsConfig::SEEN, 1},
    {"sharded", ReferencesConfig::SHARDED, ReferencesConfig::BANK, kFusion, MaskedWordsConfig::TIED, 3},
    {"replicated, batch, words alone", ReferencesConfig::REPLICATED, ReferencesConfig::BATCH, 0, MaskedWordsConfig::ALL,
     2},
    {"sharded, batch, words alone", ReferencesConfig::SHARDED, ReferencesConfig::BATCH, 0, MaskedWordsConfig::SEEN, 1},
    {"sharded, batch", ReferencesConfig::SHARDED, ReferencesConfig::BATCH, kFusion, MaskedWordsConfig::SEEN, 2},
    {"restoration, identities", ReferencesConfig::REPLICATED, ReferencesConfig::BANK, kFusion, MaskedWordsConfig::SEEN,
     1, false, true},
    {"all heads", ReferencesConfig::SHARDED, ReferencesConfig::BANK, kFusion, MaskedWordsConfig::SEEN, 1, true, true,
     true},
    {"words of the image", ReferencesConfig::REPLICATED, ReferencesConfig::BANK, kFusion, MaskedWordsConfig::ALL, 1,
     true, false, false, true},
    {"words of the image, all heads, as published", ReferencesConfig::SHARDED, ReferencesConfig::BANK, kFusion,
     MaskedWordsConfig::TIED, 1, true, true, true, true},
};

ReferencesConfig references_config(const Setting& setting) {
  ReferencesConfig config;
  config.set_fusion_weight(setting.fusion);
  config.set_guidance_weight(kGuidance);
  config.set_guidance_ramp_epochs(0);
  config.set_temperature(kTemperature);
  config.set_placement(setting.placement);
  config.set_negatives(setting.negatives);
  config.set_init(ReferencesConfig::NORMAL);
  return config;
}

std::shared_ptr<Head> make_words(const Setting& setting) {
  MaskedWordsConfig config;
  config.set_weight(kWords);
  config.set_mask_tokens(0.3);
  config.set_blocks(2);
  config.set_reference_tokens(setting.reference_tokens);
  config.set_output(setting.output);
  if (setting.image) config.set_context(MaskedWordsConfig::IMAGE);
  config.set_attend_padding(setting.image && setting.padding);
  std::vector<int64_t> seen;
  for (int64_t id = 1; id < 450; ++id) seen.push_back(id);  // not all of the batch's
  return make_masked_words(config, small_model(), {1, 500, 49405}, seen, kSeed);
}

std::vector<int64_t> identities() {
  std::vector<int64_t> all;
  for (int64_t i = 0; i < kIdentities; ++i) all.push_back(i);
  return all;
}

Heads make_heads(const Setting& setting, at::ScalarType dtype) {
  Heads heads;
  if (setting.words) heads.push_back(make_words(setting));
  if (setting.sen) {
    ImageRestorationConfig restoration;
    restoration.set_weight(kRestoration);
    restoration.set_blocks(2);
    restoration.set_attend_padding(setting.padding);
    restoration.set_skip_one(setting.padding);
    heads.push_back(make_image_restoration(restoration, small_model(), kSeed));
    IdentityClassifierConfig classifier;
    classifier.set_weight(kClassifier);
    heads.push_back(make_identity_classifier(classifier, small_model(), identities(), kSeed));
  }
  for (const auto& head : heads) head->to(dtype);
  return heads;
}

std::shared_ptr<Model> make_double_or_float_model(at::ScalarType dtype) {
  std::shared_ptr<Model> model = make_model(small_model(), kSeed);
  model->to(dtype);
  model->train();
  return model;
}

Objective objective_config() {
  Objective objective;
  objective.mutable_logit_scale()->set_init(10);
  objective.mutable_logit_scale()->set_learnable(false);
  objective.add_term()->mutable_info_nce()->set_positives(IDENTITY);
  return objective;
}

Batch step_batch() {
  Batch batch = make_batch(small_model(), 13, 0);
  batch.identity.remainder_(kIdentities);
  return batch;
}

at::Tensor unit(const at::Tensor& rows) {
  return rows / rows.norm(2, {1}, true);
}

// Mean over images and captions of the cross-entropy of their cosines with the references.
at::Tensor plain_references(const at::Tensor& image, const at::Tensor& text, const at::Tensor& rows,
                            const at::Tensor& row_of_sample, bool batch_only) {
  at::Tensor sum = at::zeros({}, rows.options());
  for (const at::Tensor& side : {image, text}) {
    at::Tensor logits = at::matmul(unit(side), unit(rows).t()) / kTemperature;
    if (batch_only) {
      at::Tensor absent = at::ones({rows.size(0)}, at::kBool);
      absent.index_fill_(0, row_of_sample, false);
      logits = logits.masked_fill(absent, -1e30);
    }
    sum = sum - at::log_softmax(logits, 1).gather(1, row_of_sample.unsqueeze(1)).sum();
  }
  return sum / (2.0 * static_cast<double>(image.size(0)));
}

at::Tensor plain_info_nce(const Features& features, const at::Tensor& identity) {
  const at::Tensor cosines = at::matmul(unit(features.pairs[0].image), unit(features.pairs[0].text).t()) * 10;
  const at::Tensor same = identity.unsqueeze(1).eq(identity.unsqueeze(0)).to(cosines.dtype());
  const at::Tensor targets = same / same.sum(1, true);
  at::Tensor loss = at::zeros({}, cosines.options());
  for (const at::Tensor& logits : {cosines, cosines.t()}) loss = loss - (targets * at::log_softmax(logits, 1)).sum();
  return loss / (2.0 * static_cast<double>(identity.size(0)));
}

struct Truth {
  double loss = 0;
  std::vector<double> heads;  // of each its mean
  NamedParameters parameters;
  at::Tensor d_rows;  // [identities, d] in the bank's order
  std::shared_ptr<Model> model;
  Heads made;
};

Truth whole_batch(const Setting& setting) {
  Truth truth;
  truth.model = make_double_or_float_model(at::kDouble);
  truth.made = make_heads(setting, at::kDouble);
  Batch batch = step_batch();
  batch.images = batch.images.to(at::kDouble);
  LocalCommunicator local;
  ReferenceBank bank(references_config(setting), identities(), small_model().joint_width(), kSeed, batch.size(), local,
                     at::kDouble);
  bank.initialise_normal();
  at::Tensor rows = bank.rows().clone();
  rows.requires_grad_();
  const at::Tensor row_of_sample = at::empty_like(batch.identity);
  for (int64_t i = 0; i < batch.size(); ++i) {
    row_of_sample[i].fill_(bank.order().row_of(batch.identity[i].item<int64_t>()));
  }
  for (auto& parameter : truth.model->named_parameters())
    truth.parameters.emplace_back(parameter.key(), parameter.value());
  for (const auto& head : truth.made) {
    for (auto& parameter : head->named_parameters()) {
      truth.parameters.emplace_back("heads." + head->name() + "." + parameter.key(), parameter.value());
    }
  }
  for (auto& [name, parameter] : truth.parameters) parameter.mutable_grad() = at::zeros_like(parameter);
  const Features features = truth.model->forward(batch, kSeed, {setting.sen, setting.padding, setting.image});
  const at::Tensor &image = features.pairs[0].image, &text = features.pairs[0].text;
  const bool batch_only = setting.negatives == ReferencesConfig::BATCH;
  at::Tensor of_heads = at::zeros({}, at::kDouble);
  for (const auto& head : truth.made) {
    const at::Tensor mean = head->sum(batch, features, rows.index_select(0, row_of_sample), *truth.model, kSeed) /
                            static_cast<double>(head->count(batch, kSeed));
    truth.heads.push_back(mean.item<double>());
    of_heads = of_heads + head->weight(0) * mean;
  }
  const at::Tensor fusion = plain_references(image.detach(), text.detach(), rows, row_of_sample, batch_only);
  const at::Tensor guidance = plain_references(image, text, rows.detach(), row_of_sample, batch_only);
  const at::Tensor loss =
      plain_info_nce(features, batch.identity) + setting.fusion * fusion + kGuidance * guidance + of_heads;
  loss.backward();
  truth.loss = loss.item<double>();
  truth.d_rows = rows.grad();
  return truth;
}

class HeadsTest : public StepTest {};

// Muster's own step on this rank.
class Subject {
 public:
  Subject(const Setting& setting, Communicator& communicator, int64_t chunk, at::ScalarType dtype)
      : communicator_(communicator),
        dtype_(dtype),
        model_(make_double_or_float_model(dtype)),
        objective_(objective_config()),
        heads_(make_heads(setting, dtype)),
        trainable_(take_trainable(*model_, objective_, OptimizerConfig(), heads_)),
        optimizer_(trainable_, OptimizerConfig()),
        reducer_(trainable_, communicator, 1 << 20),
        bank_(references_config(setting), identities(), small_model().joint_width(), kSeed, step_batch().size(),
              communicator, dtype),
        head_losses_(heads_, *model_, communicator),
        step_(*model_, objective_, trainable_, reducer_, optimizer_, communicator, {kSeed, chunk}, &bank_,
              &head_losses_) {
    bank_.initialise_normal();
  }

  StepResult gradients() {
    Batch rows = rows_of_rank(step_batch(), communicator_);
    rows.images = rows.images.to(dtype_);
    return step_.compute_gradients(rows, {});
  }
  const NamedParameters& parameters() const { return trainable_; }
  const ReferenceBank& bank() const { return bank_; }
  std::vector<std::string> term_names() const { return step_.term_names(); }

 private:
  Communicator& communicator_;
  at::ScalarType dtype_;
  std::shared_ptr<Model> model_;
  LossObjective objective_;
  Heads heads_;
  NamedParameters trainable_;
  Optimizer optimizer_;
  GradientReducer reducer_;
  ReferenceBank bank_;
  HeadLosses head_losses_;
  TrainingStep step_;
};

void expect_exact(const Setting& setting, Communicator& communicator, at::ScalarType dtype, double bound) {
  const Truth truth = whole_batch(setting);
  double largest = 0;
  for (const auto& [name, parameter] : truth.parameters) {
    largest = std::max(largest, parameter.grad().abs().max().item<double>());
  }
  for (const int64_t chunks : {1, 2, 3}) {
    const int64_t rows = split_rows(13, communicator.size())[0];
    Subject subject(setting, communicator, chunks == 1 ? 0 : (rows + chunks - 1) / chunks, dtype);
    const StepResult result = subject.gradients();
    const std::string where = std::string(setting.name) + ", " + std::to_string(chunks) + " chunks, rank " +
                              std::to_string(communicator.rank());
    EXPECT_NEAR(result.loss, truth.loss, bound * std::abs(truth.loss)) << where;
    const size_t first_head = result.terms.size() - truth.heads.size();
    for (size_t i = 0; i < truth.heads.size(); ++i) {
      EXPECT_EQ(subject.term_names().at(first_head + i), truth.made[i]->name());
      EXPECT_NEAR(result.terms.at(first_head + i), truth.heads[i], bound * truth.heads[i]) << where;
    }
    for (size_t i = 0; i < truth.parameters.size(); ++i) {
      const auto& [name, parameter] = subject.parameters()[i];
      ASSERT_EQ(name, truth.parameters[i].first);
      const at::Tensor& expected = truth.parameters[i].second.grad();
      EXPECT_GT(expected.abs().max().item<double>(), 0) << name << " has no part in the loss";
      EXPECT_LE(relative_error(parameter.grad(), expected, 1e-3 * largest), bound) << name << ", " << where;
    }
    const int64_t first = subject.bank().first_row(), own = subject.bank().rows().size(0);
    const double largest_row = truth.d_rows.abs().max().item<double>();
    if (own > 0) {
      const double error =
          (subject.bank().gradient().to(at::kDouble) - truth.d_rows.narrow(0, first, own)).abs().max().item<double>();
      EXPECT_LE(error / largest_row, bound) << "references, " << where;
    }
    double squares = truth.d_rows.square().sum().item<double>();
    for (const auto& parameter : truth.parameters) squares += parameter.second.grad().square().sum().item<double>();
    EXPECT_NEAR(result.gradient_norm, std::sqrt(squares), 10 * bound * std::sqrt(squares)) << where;
  }
}

TEST_F(HeadsTest, EveryGradientEqualsTheWholeBatchInOneProcess) {
  for (const Setting& setting : kSettings) expect_exact(setting, *communicator_, at::kFloat, 2e-5);
}

TEST_F(HeadsTest, EveryGradientEqualsTheWholeBatchInOneProcessInFloat64) {
  for (const Setting& setting : kSettings) expect_exact(setting, *communicator_, at::kDouble, 1e-12);
}

TEST_F(HeadsTest, AHeadThatNeedsReferencesNeedsABank) {
  const Setting& setting = kSettings[0];
  const std::shared_ptr<Model> model = make_double_or_float_model(at::kFloat);
  LossObjective objective(objective_config());
  const Heads heads = make_heads(setting, at::kFloat);
  const NamedParameters trainable = take_trainable(*model, objective, OptimizerConfig(), heads);
  Optimizer optimizer(trainable, OptimizerConfig());
  GradientReducer reducer(trainable, *communicator_, 1 << 20);
  HeadLosses losses(heads, *model, *communicator_);
  EXPECT_THROW(TrainingStep(*model, objective, trainable, reducer, optimizer, *communicator_, {}, nullptr, &losses),
               std::logic_error);
}

}  // namespace
}  // namespace muster
