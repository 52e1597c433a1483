#include "trainer/heads/identity_classifier.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>
#include <vector>

#include "trainer/encoders/model_config.h"

namespace muster {
namespace {

constexpr int64_t kWidth = 6;
const std::vector<int64_t> kIdentities = {3, 4, 11, 700, 1000000007};

std::shared_ptr<Head> make_head() {
  IdentityClassifierConfig config;
  config.set_weight(1);
  ModelConfig model;
  model.set_preset(ModelConfig::MINI);
  model.set_joint_width(kWidth);
  return make_identity_classifier(config, resolve_model(model), kIdentities, 5);
}

std::vector<double> numbers(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.detach().to(at::kDouble).contiguous();
  return {flat.const_data_ptr<double>(), flat.const_data_ptr<double>() + flat.numel()};
}

struct Sample {
  std::shared_ptr<Head> head = make_head();
  std::shared_ptr<Model> model;  // never asked
  Batch batch;
  Features live;

  Sample() {
    at::Generator generator = at::detail::createCPUGenerator(2);
    head->to(at::kDouble);
    const at::NoGradGuard no_grad;
    for (auto& p : head->parameters()) p.add_(at::randn(p.sizes(), generator, at::kDouble));
    batch.identity = at::tensor(std::vector<int64_t>{700, 3, 1000000007, 700});
    batch.position = batch.identity;
    live.pairs.push_back({"global", at::randn({4, kWidth}, generator, at::kDouble).requires_grad_(),
                          at::randn({4, kWidth}, generator, at::kDouble).requires_grad_()});
    model = make_model(resolve_model([] {
                         ModelConfig config;
                         config.set_preset(ModelConfig::MINI);
                         config.mutable_text()->set_vocabulary(50);
                         config.mutable_text()->set_layers(1);
                         config.mutable_image()->set_layers(1);
                         return config;
                       }()),
                       1);
  }
  double sum() const { return head->sum(batch, live, {}, *model, 0).item<double>(); }
};

// Loops over numbers.
double plain_sum(const Sample& sample) {
  const std::vector<double> weight = numbers(sample.head->named_parameters()["weight"]);
  const std::vector<double> bias = numbers(sample.head->named_parameters()["bias"]);
  const size_t classes[] = {3, 0, 4, 3};
  double sum = 0;
  for (const at::Tensor& side : {sample.live.pairs[0].image, sample.live.pairs[0].text}) {
    const std::vector<double> x = numbers(side);
    for (size_t row = 0; row < 4; ++row) {
      double total = 0, own = 0;
      for (size_t c = 0; c < kIdentities.size(); ++c) {
        double logit = bias[c];
        for (size_t i = 0; i < kWidth; ++i) logit += weight[c * kWidth + i] * x[row * kWidth + i];
        total += std::exp(logit);
        if (c == classes[row]) own = logit;
      }
      sum += std::log(total) - own;
    }
  }
  return sum / 2;
}

TEST(IdentityClassifier, SumIsTheMeanOfBothCrossEntropies) {
  const Sample sample;
  EXPECT_NEAR(sample.sum(), plain_sum(sample), 1e-13);
  EXPECT_EQ(sample.head->count(sample.batch, 0), 4);
}

TEST(IdentityClassifier, GradientsEqualFiniteDifferences) {
  const Sample sample;
  sample.head->sum(sample.batch, sample.live, {}, *sample.model, 0).backward();
  std::vector<at::Tensor> all = sample.head->parameters();
  all.push_back(sample.live.pairs[0].image);
  all.push_back(sample.live.pairs[0].text);
  const at::NoGradGuard no_grad;
  for (const at::Tensor& tensor : all) {
    const at::Tensor flat = tensor.detach().view({-1}), gradient = tensor.grad().view({-1});
    for (int64_t i = 0; i < flat.numel(); ++i) {
      const double before = flat[i].item<double>(), step = 1e-5;
      flat[i].fill_(before + step);
      const double up = plain_sum(sample);
      flat[i].fill_(before - step);
      const double down = plain_sum(sample);
      flat[i].fill_(before);
      EXPECT_NEAR((up - down) / (2 * step), gradient[i].item<double>(), 1e-8);
    }
  }
}

TEST(IdentityClassifier, StartsSmallAndRefusesOthers) {
  const std::shared_ptr<Head> head = make_head();
  EXPECT_NEAR(head->named_parameters()["weight"].std().item<double>(), 1e-3, 4e-4);
  EXPECT_EQ(head->named_parameters()["bias"].abs().max().item<double>(), 0);
  Sample sample;
  sample.batch.identity[1].fill_(5);
  EXPECT_THROW(sample.sum(), std::logic_error);
}

}  // namespace
}  // namespace muster
