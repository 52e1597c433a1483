// Texts are encoded first and travel while images are encoded; the step is the same, bit for bit, as if all features
// had been made before anything travels, images first.
#include <ATen/ops/flip.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "comm/thread_communicator.h"
#include "tests/trainer/costed_step.h"
#include "trainer/backward_order.h"

namespace muster {
namespace {

// CLIP's features and a second pair made of them. `at_once`: images and then texts, and nothing is left for later: also
// what a model does whose texts need its images.
class TwoPairs : public Model {
 public:
  TwoPairs(const ModelConfig& config, bool at_once)
      : at_once_(at_once), inner_(register_module("inner", make_model(config, 1))) {}

  ForwardPass begin_forward(const Batch& batch, uint64_t seed, const TokenRequest& tokens) override {
    if (at_once_) {
      const at::Tensor image = inner_->encode_image(batch), text = inner_->encode_text(batch.tokens);
      const Features features{
          {{"global", image, text}, {"local", at::flip(image, {1}), at::flip(text, {1})}}, {}, {}, {}};
      ForwardPass pass{features, [features] { return features; }};
      for (FeaturePair& pair : pass.texts.pairs) pair.image = at::Tensor();
      return pass;
    }
    ForwardPass inner = inner_->begin_forward(batch, seed, tokens);
    ForwardPass pass{inner.texts, nullptr};
    pass.texts.pairs.push_back({"local", {}, at::flip(inner.texts.pairs[0].text, {1})});
    pass.finish = [texts = pass.texts, finish = inner.finish] {
      Features features = texts;
      features.pairs[0].image = finish().pairs[0].image;
      features.pairs[1].image = at::flip(features.pairs[0].image, {1});
      return features;
    };
    return pass;
  }

  at::Tensor encode_image(const Batch& batch) override { return inner_->encode_image(batch); }
  at::Tensor encode_text(const at::Tensor& tokens) override { return inner_->encode_text(tokens); }
  at::Tensor text_tokens(const Batch& batch, uint64_t seed, bool padding) override {
    return inner_->text_tokens(batch, seed, padding);
  }
  at::Tensor image_tokens(const Batch& batch, const at::Tensor& kept, uint64_t seed) override {
    return inner_->image_tokens(batch, kept, seed);
  }
  at::Tensor token_embedding() const override { return inner_->token_embedding(); }
  std::map<std::string, int64_t> layers_above() const override { return {}; }

 private:
  bool at_once_;
  std::shared_ptr<Model> inner_;
};

RunSettings settings_for(int64_t chunk, const std::string& frozen, bool references) {
  RunSettings settings = small_settings(
      "term { info_nce { positives: IDENTITY } } term { weight: 0.5 triplet {} } term { pair: 'local' sdm {} }", 7);
  if (references) {
    settings = with_references(settings, ReferencesConfig::SHARDED, true);
    settings.heads.mutable_masked_words()->set_output(MaskedWordsConfig::TIED);
  }
  settings.train.set_chunk(chunk);
  settings.train.set_clip_norm(0.1);
  if (!frozen.empty()) {
    ParameterGroup* group = settings.train.mutable_optimizer()->add_group();
    group->set_name("inner." + frozen + ".*");
    group->set_freeze(true);
  }
  return settings;
}

// Everything that is trained, after some steps on each rank.
std::vector<std::vector<at::Tensor>> train(const RunSettings& settings, int ranks, bool at_once) {
  std::vector<std::vector<at::Tensor>> trained(static_cast<size_t>(ranks));
  run_ranks(ranks, [&](Communicator& communicator) {
    CostedStep step(settings, communicator, std::make_shared<TwoPairs>(settings.model, at_once));
    for (int i = 0; i < 3; ++i) step.run();
    std::vector<at::Tensor>& mine = trained[static_cast<size_t>(communicator.rank())];
    for (const auto& [name, parameter] : step.trainable()) mine.push_back(parameter.detach().clone());
    if (keeps_references(settings.references)) mine.push_back(step.bank().rows().clone());
  });
  return trained;
}

class StepOrder : public testing::TestWithParam<int> {};

TEST_P(StepOrder, TextsFirstGiveTheBitsOfAllAtOnce) {
  for (const int64_t chunks : {1, 2}) {
    const int64_t rows = split_rows(7, GetParam())[0];
    for (const std::string frozen : {"", "image", "text"}) {
      for (const bool references : {false, true}) {
        const RunSettings settings = settings_for(chunks == 1 ? 0 : (rows + 1) / 2, frozen, references);
        const auto staged = train(settings, GetParam(), false), at_once = train(settings, GetParam(), true);
        for (size_t rank = 0; rank < staged.size(); ++rank) {
          for (size_t i = 0; i < staged[rank].size(); ++i) {
            EXPECT_TRUE(staged[rank][i].equal(at_once[rank][i]))
                << chunks << " chunks, frozen '" << frozen << "', references " << references << ", rank " << rank
                << ", tensor " << i;
          }
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, StepOrder, testing::Values(1, 2, 3));

// What goes back, in the order in which it does.
class Steps {
 public:
  at::Tensor after(const at::Tensor& x, const std::string& name) {
    at::Tensor y = x.exp();
    y.register_hook([this, name](const at::Tensor&) { order_ += name + " "; });
    return y;
  }
  const std::string& order() const { return order_; }

 private:
  std::string order_;
};

TEST(BackwardOrderTest, ExchangesTwoParts) {
  for (const bool exchanged : {false, true}) {
    const at::Tensor leaf = at::ones({2}).requires_grad_();
    Steps steps;
    BackwardOrder order;
    const at::Tensor first = steps.after(steps.after(leaf, "text0"), "text1");
    order.second_begins();
    const at::Tensor second = steps.after(steps.after(steps.after(leaf, "image0"), "image1"), "image2");
    if (exchanged) order.exchange({second, first, at::ones({1})});
    const at::Tensor later = steps.after(leaf, "later");
    (first + second + later).sum().backward();
    EXPECT_EQ(steps.order(),
              exchanged ? "later text1 text0 image2 image1 image0 " : "later image2 image1 image0 text1 text0 ");
  }
}

// A first part that needs the second goes back after it, whatever the order says.
TEST(BackwardOrderTest, FollowsTheGraph) {
  const at::Tensor leaf = at::ones({2}).requires_grad_();
  Steps steps;
  BackwardOrder order;
  const at::Tensor first = steps.after(leaf, "text");
  order.second_begins();
  const at::Tensor second = steps.after(first, "image");
  order.exchange({first, second});
  (first + second).sum().backward();
  EXPECT_EQ(steps.order(), "image text ");
  EXPECT_TRUE(leaf.grad().allclose(leaf.exp() * (1 + leaf.exp().exp())));
}

}  // namespace
}  // namespace muster
