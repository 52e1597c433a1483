// A model that selects tokens and two tal terms against RDE's public code: losses, gradients and test scores of
// model/{clip_model,CrossEmbeddingLayer_tse,objectives,build}.py and processor's weights (github.com/QinYang79/RDE at
// b3fd396), run in float64 with the parameters, images and captions that the formulas below make.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/sin.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <string>
#include <vector>

#include "comm/gradient_reducer.h"
#include "comm/local_communicator.h"
#include "trainer/encoders/model.h"
#include "trainer/losses/objective.h"
#include "trainer/optimizer.h"
#include "trainer/replica.h"
#include "trainer/step.h"

namespace muster {
namespace {

struct PublicRun {
  int context;
  double ratio;
  std::vector<int64_t> words;  // of each caption
  double global_loss, selected_loss, gradient_norm;
  std::map<std::string, double> norms;  // of gradients
  std::vector<double> scores;           // of captions and images (0, 0), (1, 3), (last, 2), and the sum of all squares
};

// In the second some captions are filled up with padding, all of it, so that which does not matter.
const PublicRun kRuns[] = {{14,
                            0.3,
                            {3, 5, 7, 12, 4, 9, 6},
                            1.991655796485436,
                            2.12490595629582,
                            70.82670840724496,
                            {{"image.patch.weight", 11.24980444763284},
                             {"text.token_embedding", 9.976500409244057},
                             {"selection.image.hidden.weight", 0.1316456039032816},
                             {"selection.text.norm.weight", 0.3721297720897671},
                             {"selection.text.residual.bias", 0.6157425280647129}},
                            {-0.388758150712348, -0.437910431922718, -0.3780908629321263, 9.463934635770427}},
                           {5,
                            1.0,
                            {1, 3, 2, 3, 2, 1, 3},
                            2.558528258951419,
                            2.096607201714528,
                            83.96729912131332,
                            {{"image.patch.weight", 29.02368250200968},
                             {"text.token_embedding", 9.925820626482215},
                             {"selection.image.hidden.weight", 0.1553627658997506},
                             {"selection.text.norm.weight", 0.3660278620044225},
                             {"selection.text.residual.bias", 0.5306782927689103}},
                            {-0.7032682398087426, -0.3043208254776341, -0.2944465457492584, 9.65637141608779}}};

ModelConfig model_of(const PublicRun& run) {
  ModelConfig config;
  config.set_preset(ModelConfig::MINI);
  config.set_activation(ModelConfig::QUICK_GELU);
  config.mutable_image()->set_height_pixels(24);
  config.mutable_image()->set_width_pixels(8);
  config.mutable_image()->set_patch(4);
  config.mutable_image()->set_width(24);
  config.mutable_image()->set_layers(2);
  config.mutable_image()->set_heads(3);
  config.mutable_text()->set_context(run.context);
  config.mutable_text()->set_vocabulary(40);
  config.mutable_text()->set_width(16);
  config.mutable_text()->set_layers(2);
  config.mutable_text()->set_heads(2);
  config.set_joint_width(12);
  config.mutable_token_selection()->set_width(20);
  config.mutable_token_selection()->set_ratio(run.ratio);
  config.mutable_token_selection()->set_padding(true);
  return resolve_model(config);
}

std::shared_ptr<Model> make_public_model(const PublicRun& run) {
  const std::shared_ptr<Model> model = make_model(model_of(run), 1);
  model->to(at::kDouble);
  model->train();
  const at::NoGradGuard no_graph;
  int64_t number = 0;
  for (auto& parameter : model->named_parameters()) {
    const std::string& name = parameter.key();
    const bool is_gain = name.size() > 11 && name.compare(name.size() - 11, 11, "norm.weight") == 0;
    const at::Tensor place = at::arange(parameter.value().numel(), at::kDouble);
    const auto phase = 0.7 * static_cast<double>(number++);
    parameter.value().copy_(((1.3 * place + phase).sin() * 0.2 + (is_gain ? 1 : 0)).view(parameter.value().sizes()));
  }
  return model;
}

Batch make_public_batch(const PublicRun& run) {
  const auto rows = static_cast<int64_t>(run.words.size());
  const at::Tensor place = at::arange(rows * 3 * 24 * 8, at::kDouble);
  Batch batch;
  batch.images = ((0.37 * place).sin() + 0.5 * (0.011 * place).sin()).view({rows, 3, 24, 8});
  batch.tokens = at::zeros({rows, run.context}, at::kLong);
  for (int64_t row = 0; row < rows; ++row) {
    int64_t* ids = batch.tokens[row].mutable_data_ptr<int64_t>();
    const int64_t words = run.words[static_cast<size_t>(row)];
    ids[0] = 38;
    for (int64_t word = 1; word <= words; ++word) ids[word] = 1 + (7 * row + 5 * word + word * word) % 36;
    ids[words + 1] = 39;
  }
  batch.position = batch.image_id = at::arange(rows, at::kLong);
  batch.identity = batch.position.remainder(rows - 2);
  return batch;
}

TEST(Rde, LossesGradientsAndScoresAreThoseOfThePublicCode) {
  for (const PublicRun& run : kRuns) {
    const std::shared_ptr<Model> model = make_public_model(run);
    const Batch batch = make_public_batch(run);
    Objective config;
    for (const char* pair : {"global", "selected"}) {
      Term* term = config.add_term();
      term->set_pair(pair);
      term->mutable_tal();
    }
    LossObjective objective(config);
    LocalCommunicator communicator;
    const NamedParameters trainable = take_trainable(*model, objective, OptimizerConfig());
    Optimizer optimizer(trainable, OptimizerConfig());
    GradientReducer reducer(trainable, communicator, 1 << 20);
    TrainingStep step(*model, objective, trainable, reducer, optimizer, communicator, {});
    const at::Tensor clean = batch.position.remainder(5).ne(3).to(at::kDouble);
    const StepResult result = step.compute_gradients(batch, {}, clean);
    EXPECT_NEAR(result.terms.at(0), run.global_loss, 1e-9);
    EXPECT_NEAR(result.terms.at(1), run.selected_loss, 1e-9);
    EXPECT_NEAR(result.gradient_norm, run.gradient_norm, 1e-7);
    for (const auto& [name, norm] : run.norms) {
      EXPECT_NEAR(model->named_parameters()[name].grad().norm().item<double>(), norm, 1e-8) << name;
    }
    model->eval();
    const at::NoGradGuard no_graph;
    const at::Tensor scores = at::matmul(model->encode_text(batch.tokens), model->encode_image(batch).t());
    EXPECT_NEAR(scores[0][0].item<double>(), run.scores[0], 1e-9);
    EXPECT_NEAR(scores[1][3].item<double>(), run.scores[1], 1e-9);
    EXPECT_NEAR(scores[-1][2].item<double>(), run.scores[2], 1e-9);
    EXPECT_NEAR(scores.square().sum().item<double>(), run.scores[3], 1e-8);
  }
}

// Batch norm has seen the batch by then.
TEST(Rde, AStepThatIsNotFiniteLeavesTheRunningStatistics) {
  const std::shared_ptr<Model> model = make_public_model(kRuns[0]);
  Batch batch = make_public_batch(kRuns[0]);
  Objective config;
  config.add_term()->mutable_tal();
  LossObjective objective(config);
  LocalCommunicator communicator;
  const NamedParameters trainable = take_trainable(*model, objective, OptimizerConfig());
  Optimizer optimizer(trainable, OptimizerConfig());
  GradientReducer reducer(trainable, communicator, 1 << 20);
  TrainingStep step(*model, objective, trainable, reducer, optimizer, communicator, {});
  for (const bool finite : {true, false}) {
    std::vector<at::Tensor> before;
    for (const at::Tensor& buffer : model->buffers()) before.push_back(buffer.clone());
    if (!finite) batch.images[0].fill_(std::numeric_limits<double>::quiet_NaN());
    EXPECT_EQ(step.run(batch, {}, 1).is_finite(), finite);
    for (size_t i = 0; i < before.size(); ++i) EXPECT_EQ(model->buffers()[i].equal(before[i]), !finite);
  }
}

// Where public code fails: its feature is the maximum of no token.
TEST(Rde, ACaptionWithoutWordsHasNoSelectedFeature) {
  for (const bool padding : {false, true}) {
    PublicRun run = kRuns[0];
    run.words = {4, 0, 1};
    ModelConfig config = model_of(run);
    config.mutable_token_selection()->set_padding(padding);
    const std::shared_ptr<Model> model = make_model(config, 1);
    model->to(at::kDouble);
    model->train();
    const Features features = model->forward(make_public_batch(run), 1);
    const at::Tensor& text = features.pairs.at(1).text;
    EXPECT_EQ(text[1].abs().max().item<double>(), 0);
    EXPECT_GT(text[0].abs().max().item<double>(), 0);
    EXPECT_GT(text[2].abs().max().item<double>(), 0);
    text.sum().backward();
    EXPECT_TRUE(features.cuts.at(0).start.grad().isfinite().all().item<bool>());
    // Padding counts in batch norm.
    EXPECT_EQ(features.cuts.at(0).start.grad()[1].abs().max().item<double>() > 0, padding);
  }
}

}  // namespace
}  // namespace muster
