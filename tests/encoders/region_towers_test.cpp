// TERAN's towers against PyTorch's own modules (tests/peers/make_region_towers.py).
#include "trainer/encoders/region_towers.h"

#include <gtest/gtest.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <torch/csrc/autograd/autograd.h>

#include <map>
#include <string>

#include "trainer/encoders/bert_weights.h"

namespace muster {
namespace {

const char* const kFile = MUSTER_SOURCE_DIR "/tests/golden/weights/regions/towers.safetensors";
constexpr int64_t kJoint = 8;
const BertSizes kBert{40, 12, 12, 1, 3, 20};

std::vector<int64_t> numbers(const at::Tensor& tensor) {
  return {tensor.const_data_ptr<int64_t>(), tensor.const_data_ptr<int64_t>() + tensor.numel()};
}

class RegionTowers : public testing::Test {
 protected:
  explicit RegionTowers(bool drop_last_word = false)
      : initialiser_(1),
        joint_(std::make_shared<PostNormBlocks>(2, PostNormOptions{kJoint, 2, 12}, true, initialiser_)),
        image_(RegionTowerSizes{16, 2, 4, 20, kJoint}, joint_, initialiser_),
        text_(kBert, kJoint, drop_last_word, joint_, initialiser_) {
    const WeightFile file(kFile);
    std::vector<size_t> all(file.tensors().size());
    for (size_t i = 0; i < all.size(); ++i) all[i] = i;
    file.read(all, [&](size_t i, const at::Tensor& tensor) { truth_[file.tensors()[i].name] = tensor.clone(); });
    take(*joint_, "joint.");
    take(image_, "image.");
    const at::NoGradGuard no_grad;
    for (const std::string kind : {"weight", "bias"}) {
      text_.named_parameters()["projection." + kind].copy_(truth_.at("text.projection." + kind));
    }
    NamedTensors words;
    for (auto& parameter : text_.named_parameters()) words.emplace_back(parameter.key(), parameter.value());
    copy_bert(file, kBert, "bert.", words);
  }

  void take(torch::nn::Module& module, const std::string& prefix) {
    const at::NoGradGuard no_grad;
    for (auto& parameter : module.named_parameters()) parameter.value().copy_(truth_.at(prefix + parameter.key()));
  }

  SetOutputs images(const DropoutKey& dropout = {}) {
    return image_.forward(truth_.at("regions"), truth_.at("boxes"), numbers(truth_.at("counts")), dropout, 0);
  }

  void expect_near(const at::Tensor& got, const std::string& name) {
    const at::Tensor& expected = truth_.at("expected." + name);
    ASSERT_EQ(got.sizes(), expected.sizes()) << name;
    EXPECT_LE((got - expected).abs().max().item<double>(), 1e-5) << name;
  }

  std::map<std::string, at::Tensor> truth_;
  Initialiser initialiser_;
  std::shared_ptr<PostNormBlocks> joint_;
  RegionTower image_;
  WordTower text_;
};

class PublishedRegionTowers : public RegionTowers {
 protected:
  PublishedRegionTowers() : RegionTowers(true) {}
};

TEST_F(RegionTowers, AreWhatPyTorchMakes) {
  const at::NoGradGuard no_grad;
  const SetOutputs image = images(), text = text_.forward(truth_.at("tokens"), {}, 0);
  expect_near(image.global, "image.global");
  expect_near(image.set.rows, "image.rows");
  expect_near(text.global, "text.global");
  expect_near(text.set.rows, "text.rows");
  EXPECT_EQ(image.set.sizes, (std::vector<int64_t>{3, 5, 1, 4}));
  EXPECT_EQ(text.set.sizes, (std::vector<int64_t>{7, 1, 0, 4}));
}

TEST_F(PublishedRegionTowers, LeaveOutTheLastWord) {
  const at::NoGradGuard no_grad;
  const SetOutputs text = text_.forward(truth_.at("tokens"), {}, 0);
  expect_near(text.set.rows, "text.rows.published");
  EXPECT_EQ(text.set.sizes, (std::vector<int64_t>{6, 0, 0, 3}));
}

// Dropout's masks too belong to a sample, a layer and a token, not to what else is in the batch.
TEST_F(RegionTowers, GiveASampleTheSameAloneAndAmongOthers) {
  const at::NoGradGuard no_grad;
  const auto key = [](const at::Tensor& positions) { return DropoutKey{0.3, 7, positions}; };
  const at::Tensor positions = at::arange(100, 104, at::kLong);
  const SetOutputs image = images(key(positions)), text = text_.forward(truth_.at("tokens"), key(positions), 20);
  EXPECT_GT((image.set.rows - images().set.rows).abs().max().item<double>(), 0.1);
  int64_t region = 0, word = 0;
  for (int64_t i = 0; i < 4; ++i) {
    const int64_t regions = image.set.sizes[static_cast<size_t>(i)], words = text.set.sizes[static_cast<size_t>(i)];
    const DropoutKey own = key(positions.narrow(0, i, 1));
    const SetOutputs alone = image_.forward(truth_.at("regions").narrow(0, region, regions),
                                            truth_.at("boxes").narrow(0, region, regions), {regions}, own, 0);
    const SetOutputs caption = text_.forward(truth_.at("tokens").narrow(0, i, 1), own, 20);
    EXPECT_LE((alone.set.rows - image.set.rows.narrow(0, region, regions)).abs().max().item<double>(), 1e-5);
    EXPECT_LE((alone.global[0] - image.global[i]).abs().max().item<double>(), 1e-5);
    EXPECT_LE((caption.global[0] - text.global[i]).abs().max().item<double>(), 1e-5);
    EXPECT_EQ(caption.set.rows.size(0), words);
    if (words > 0) {
      EXPECT_LE((caption.set.rows - text.set.rows.narrow(0, word, words)).abs().max().item<double>(), 1e-5);
    }
    region += regions;
    word += words;
  }
}

TEST_F(RegionTowers, OfNoSamplesAreEmpty) {
  const SetOutputs image =
      image_.forward(truth_.at("regions").narrow(0, 0, 0), truth_.at("boxes").narrow(0, 0, 0), {}, {}, 0);
  const SetOutputs text = text_.forward(truth_.at("tokens").narrow(0, 0, 0), {}, 0);
  for (const SetOutputs& outputs : {image, text}) {
    EXPECT_EQ(outputs.global.sizes(), (std::vector<int64_t>{0, kJoint}));
    EXPECT_EQ(outputs.set.rows.sizes(), (std::vector<int64_t>{0, kJoint}));
    EXPECT_TRUE(outputs.set.sizes.empty());
  }
}

TEST_F(RegionTowers, EveryParameterHasAGradient) {
  const SetOutputs image = images(), text = text_.forward(truth_.at("tokens"), {}, 0);
  torch::autograd::backward({image.global.square().sum() + image.set.rows.pow(3).sum() + text.global.square().sum() +
                             text.set.rows.pow(3).sum()},
                            {});
  for (torch::nn::Module* module : {static_cast<torch::nn::Module*>(&image_), static_cast<torch::nn::Module*>(&text_),
                                    static_cast<torch::nn::Module*>(joint_.get())}) {
    for (const auto& parameter : module->named_parameters()) {
      ASSERT_TRUE(parameter.value().grad().defined()) << parameter.key();
      EXPECT_TRUE(parameter.value().grad().to_dense().abs().max().item<double>() > 0) << parameter.key();
    }
  }
}

}  // namespace
}  // namespace muster
