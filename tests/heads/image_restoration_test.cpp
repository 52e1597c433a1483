// The restoration head against its formula, written once more sample by sample, and against finite differences.
#include "trainer/heads/image_restoration.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "dataloader/random.h"
#include "trainer/encoders/model_config.h"

namespace muster {
namespace {

// 6 x 3 patches of 4 x 4.
constexpr int64_t kRows = 6, kColumns = 3, kPatches = kRows * kColumns, kPatch = 4, kWidth = 12;
constexpr int64_t kContext = 8, kVocabulary = 40, kEnd = 39;
constexpr uint64_t kSeed = 5;

ModelConfig model_config() {
  ModelConfig config;
  config.set_preset(ModelConfig::MINI);
  config.set_joint_width(kWidth);
  config.mutable_image()->set_patch(kPatch);
  config.mutable_image()->set_height_pixels(kRows * kPatch);
  config.mutable_image()->set_width_pixels(kColumns * kPatch);
  config.mutable_text()->set_context(kContext);
  config.mutable_text()->set_vocabulary(kVocabulary);
  return resolve_model(config);
}

// A patch's token is a linear function of its pixels, plus its place's row, plus the mean over the tokens that are
// seen; a word's a row of a table.
class PlainModel : public Model {
 public:
  PlainModel() {
    at::Generator generator = at::detail::createCPUGenerator(3);
    const auto drawn = [&](at::IntArrayRef sizes) { return at::randn(sizes, generator, at::kDouble); };
    table_ = register_parameter("table", drawn({kVocabulary, kWidth}));
    pixels_ = register_parameter("pixels", drawn({3 * kPatch * kPatch, kWidth}) * 0.3);
    places_ = register_parameter("places", drawn({1 + kPatches, kWidth}));
  }
  ForwardPass begin_forward(const Batch& batch, uint64_t, const TokenRequest& tokens) override {
    const int64_t used = tokens.padding ? kContext : batch.tokens.argmax(1).max().item<int64_t>() + 1;
    Features features;
    features.text_tokens = at::embedding(table_, batch.tokens.narrow(1, 0, used));
    return {features, [features] { return features; }};
  }
  at::Tensor encode_image(const Batch& batch) override { return batch.images; }
  at::Tensor encode_text(const at::Tensor& tokens) override { return tokens; }
  at::Tensor text_tokens(const Batch& batch, uint64_t, bool) override { return batch.tokens; }
  at::Tensor image_tokens(const Batch& batch, const at::Tensor& kept, uint64_t) override {
    std::vector<at::Tensor> samples;
    for (int64_t i = 0; i < batch.size(); ++i) samples.push_back(sample_tokens(batch.images[i], kept[i]));
    return at::stack(samples);
  }
  at::Tensor sample_tokens(const at::Tensor& image, const at::Tensor& kept) const {
    std::vector<at::Tensor> tokens = {places_[0]};
    for (int64_t i = 0; i < kept.numel(); ++i) {
      const int64_t patch = kept[i].item<int64_t>();
      const at::Tensor cut =
          image.narrow(1, patch / kColumns * kPatch, kPatch).narrow(2, patch % kColumns * kPatch, kPatch);
      tokens.push_back(at::matmul(cut.reshape({-1}), pixels_) + places_[1 + patch]);
    }
    const at::Tensor all = at::stack(tokens);
    return all + all.mean(0, true);
  }
  at::Tensor token_embedding() const override { return table_; }
  std::map<std::string, int64_t> layers_above() const override { return {}; }

 private:
  at::Tensor table_, pixels_, places_;
};

ImageRestorationConfig parse(const std::string& text) {
  ImageRestorationConfig config;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString("weight: 1 " + text, &config));
  return config;
}

std::shared_ptr<ImageRestoration> make_head(const std::string& text) {
  auto head = make_image_restoration(parse(text), model_config(), kSeed);
  head->to(at::kDouble);
  const at::NoGradGuard no_grad;
  at::Generator generator = at::detail::createCPUGenerator(9);
  for (auto& parameter : head->parameters()) parameter.add_(at::randn(parameter.sizes(), generator, at::kDouble) * 0.3);
  return head;
}

Batch make_batch(int64_t rows) {
  at::Generator generator = at::detail::createCPUGenerator(17);
  Batch batch;
  batch.images = at::randn({rows, 3, kRows * kPatch, kColumns * kPatch}, generator, at::kDouble);
  batch.tokens = at::zeros({rows, kContext}, at::kLong);
  batch.position = at::randint(0, 1000000, {rows}, generator, at::kLong);
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t words = 1 + (row * 3) % (kContext - 2);
    batch.tokens[row].narrow(0, 0, 1 + words).copy_(at::randint(1, 30, {1 + words}, generator, at::kLong));
    batch.tokens[row][words + 1].fill_(kEnd);
  }
  return batch;
}

Batch row_of(const Batch& batch, int64_t row) {
  Batch one;
  one.images = batch.images.narrow(0, row, 1);
  one.tokens = batch.tokens.narrow(0, row, 1);
  one.position = batch.position.narrow(0, row, 1);
  return one;
}

// The patches of a sample by their noise, least first.
std::vector<int64_t> by_noise(int64_t position) {
  KeyedRandom random(kSeed, static_cast<uint64_t>(position), Purpose::kImageMask);
  std::vector<std::pair<double, int64_t>> noise;
  for (int64_t patch = 0; patch < kPatches; ++patch) noise.emplace_back(random.next_double(), patch);
  std::sort(noise.begin(), noise.end());
  std::vector<int64_t> order;
  for (const auto& pair : noise) order.push_back(pair.second);
  return order;
}

// The head's parameters by name, and the formula of the header.
class Formula {
 public:
  Formula(const Head& head, const ImageRestorationConfig& config) : config_(config) {
    for (const auto& parameter : head.named_parameters()) values_[parameter.key()] = parameter.value();
  }

  at::Tensor sum(const Batch& batch, PlainModel& model) const {
    at::Tensor total = at::zeros({}, at::kDouble);
    for (int64_t row = 0; row < batch.size(); ++row) total = total + sample(row_of(batch, row), model);
    return total;
  }

 private:
  at::Tensor at_name(const std::string& name) const { return values_.at(name); }
  at::Tensor linear(const std::string& name, const at::Tensor& x) const {
    return at::matmul(x, at_name(name + ".weight").t()) + at_name(name + ".bias");
  }
  at::Tensor norm(const std::string& name, const at::Tensor& x) const {
    return at::layer_norm(x, {x.size(-1)}, at_name(name + ".weight"), at_name(name + ".bias"), 1e-5);
  }
  at::Tensor attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value) const {
    const int64_t heads = std::max(1, config_.attention_heads()), each = kWidth / heads;
    std::vector<at::Tensor> parts;
    for (int64_t head = 0; head < heads; ++head) {
      const auto cut = [&](const at::Tensor& x) { return x.narrow(1, head * each, each); };
      const at::Tensor scores = at::matmul(cut(query), cut(key).t()) / std::sqrt(static_cast<double>(each));
      parts.push_back(at::matmul(at::softmax(scores, 1), cut(value)));
    }
    return at::cat(parts, 1);
  }
  // MAE's get_2d_sincos_pos_embed, by channel.
  static double position(int64_t patch, int64_t channel) {
    const int64_t half = kWidth / 2, quarter = kWidth / 4;
    const int64_t place = channel < half ? patch % kColumns : patch / kColumns;
    const int64_t in_half = channel % half;
    const double omega = 1 / std::pow(10000.0, static_cast<double>(in_half % quarter) / static_cast<double>(quarter));
    const double angle = static_cast<double>(place) * omega;
    return static_cast<double>(static_cast<float>(in_half < quarter ? std::sin(angle) : std::cos(angle)));
  }

  at::Tensor sample(const Batch& one, PlainModel& model) const {
    const double tokens = (1 + kPatches) * (1 - config_.mask_ratio());
    const auto seen = static_cast<size_t>(std::floor(tokens + 1e-9)) - 1;
    const std::vector<int64_t> order = by_noise(one.position.item<int64_t>());
    const at::Tensor image = one.images[0];
    const at::Tensor y = image[0] * 0.2989 + image[1] * 0.5870 + image[2] * 0.1140;
    const std::vector<int64_t> kept(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(seen));
    const at::Tensor visible =
        linear("embed", norm("visible_norm", model.sample_tokens(at::stack({y, y, y}), at::tensor(kept))));
    std::vector<at::Tensor> x = {visible[0]};
    for (int64_t patch = 0; patch < kPatches; ++patch) {
      const auto found = std::find(kept.begin(), kept.end(), patch);
      at::Tensor token = found == kept.end() ? at_name("hidden") : visible[1 + (found - kept.begin())];
      std::vector<double> table;
      for (int64_t channel = 0; channel < kWidth; ++channel) table.push_back(position(patch, channel));
      x.push_back(token + at::tensor(table, at::kDouble));
    }
    // Of this caption alone: nothing after its end, or all that its padding gives.
    const at::Tensor text = norm("text_norm", model.forward(one, 0, {true, config_.attend_padding()}).text_tokens[0]);
    const at::Tensor met = linear("cross.output", attention(linear("cross.query", norm("cross.norm", at::stack(x))),
                                                            linear("cross.key", text), linear("cross.value", text)));
    at::Tensor z = norm("blocks_norm", met);
    for (int i = 0; i < config_.blocks(); ++i) {
      const std::string block = "blocks." + std::to_string(i);
      const at::Tensor qkv = linear(block + ".attention.qkv", norm(block + ".attention_norm", z));
      const auto part = [&](int64_t which) { return qkv.narrow(1, which * kWidth, kWidth); };
      z = z + linear(block + ".attention.output", attention(part(0), part(1), part(2)));
      const at::Tensor hidden = linear(block + ".mlp.expand", norm(block + ".mlp_norm", z));
      z = z + linear(block + ".mlp.contract", hidden * at::sigmoid(hidden * 1.702));
    }
    const at::Tensor predicted = linear("pixels", norm("output_norm", z));
    at::Tensor sum = at::zeros({}, at::kDouble);
    for (size_t i = seen + (config_.skip_one() ? 1 : 0); i < order.size(); ++i) {
      at::Tensor squares = at::zeros({}, at::kDouble);
      for (int64_t row = 0; row < kPatch; ++row) {
        for (int64_t column = 0; column < kPatch; ++column) {
          for (int64_t channel = 0; channel < 3; ++channel) {
            const at::Tensor target =
                image[channel][order[i] / kColumns * kPatch + row][order[i] % kColumns * kPatch + column];
            squares = squares + (predicted[1 + order[i]][(row * kPatch + column) * 3 + channel] - target).square();
          }
        }
      }
      sum = sum + squares / (3 * kPatch * kPatch);
    }
    return sum;
  }

  ImageRestorationConfig config_;
  std::map<std::string, at::Tensor> values_;
};

const char* const kConfigs[] = {
    "blocks: 1",
    "blocks: 2 attention_heads: 3 mask_ratio: 0.5",
    "blocks: 2 attention_heads: 2 attend_padding: true skip_one: true",
};

at::Tensor sum_of(const ImageRestoration& head, const Batch& batch, PlainModel& model) {
  return head.sum(batch, model.forward(batch, kSeed, head.tokens()), {}, model, kSeed);
}

TEST(ImageRestoration, SumIsTheFormulas) {
  const Batch batch = make_batch(7);
  for (const char* const config : kConfigs) {
    const std::shared_ptr<ImageRestoration> head = make_head(config);
    PlainModel model;
    const double got = sum_of(*head, batch, model).item<double>();
    const double expected = Formula(*head, parse(config)).sum(batch, model).item<double>();
    EXPECT_NEAR(got, expected, 1e-12 * expected) << config;
    EXPECT_GT(expected, 1) << config;
  }
}

// Central differences of some of each parameter's values, the towers' included.
TEST(ImageRestoration, GradientsEqualFiniteDifferences) {
  const Batch batch = make_batch(3);
  for (const char* const config : kConfigs) {
    const std::shared_ptr<ImageRestoration> head = make_head(config);
    PlainModel model;
    sum_of(*head, batch, model).backward();
    std::vector<std::pair<std::string, at::Tensor>> all;
    for (auto& parameter : head->named_parameters()) all.emplace_back(parameter.key(), parameter.value());
    for (auto& parameter : model.named_parameters()) all.emplace_back(parameter.key(), parameter.value());
    const at::NoGradGuard no_grad;
    const auto value = [&] { return sum_of(*head, batch, model).item<double>(); };
    double largest = 0;
    for (const auto& [name, tensor] : all) {
      ASSERT_TRUE(tensor.grad().defined()) << name << " has no part in it: " << config;
      largest = std::max(largest, tensor.grad().abs().max().item<double>());
    }
    constexpr double kStep = 1e-5;
    for (const auto& [name, tensor] : all) {
      const int64_t stride = std::max<int64_t>(1, tensor.numel() / 3);
      const at::Tensor flat = tensor.detach().view({-1}), gradient = tensor.grad().reshape({-1});
      for (int64_t i = 0; i < flat.numel(); i += stride) {
        const double before = flat[i].item<double>();
        flat[i].fill_(before + kStep);
        const double up = value();
        flat[i].fill_(before - kStep);
        const double down = value();
        flat[i].fill_(before);
        EXPECT_NEAR((up - down) / (2 * kStep), gradient[i].item<double>(), 1e-6 * largest)
            << name << "[" << i << "], " << config;
      }
    }
  }
}

// Published: 192 patches at 384 x 128, of which 56 are seen and 136 hidden; its own loss has 135 of them.
TEST(ImageRestoration, CountsOfPatchesAreThePublishedOnes) {
  ModelConfig model;
  model.set_preset(ModelConfig::VIT_B_16);
  model.mutable_image()->set_height_pixels(384);
  model.mutable_image()->set_width_pixels(128);
  model = resolve_model(model);
  EXPECT_EQ(restored_patches(parse(""), model).seen, 56);
  EXPECT_EQ(restored_patches(parse(""), model).scored, 136);
  EXPECT_EQ(restored_patches(parse("skip_one: true"), model).scored, 135);
  const Batch batch = make_batch(4);
  EXPECT_EQ(make_head("")->count(batch, kSeed), 4 * (kPatches - 4));
  EXPECT_EQ(make_head("skip_one: true")->count(batch, kSeed), 4 * (kPatches - 4 - 1));
}

// The same whatever stands beside a sample, another with another seed; every patch is hidden sometimes.
TEST(ImageRestoration, MasksAreThoseOfTheSample) {
  const std::shared_ptr<ImageRestoration> head = make_head("");
  PlainModel model;
  const Batch batch = make_batch(30);
  const double whole = sum_of(*head, batch, model).item<double>();
  double sum = 0;
  for (int64_t row = 0; row < 30; ++row) sum += sum_of(*head, row_of(batch, row), model).item<double>();
  EXPECT_NEAR(whole, sum, 1e-12 * sum);
  const Features live = model.forward(batch, kSeed, head->tokens());
  EXPECT_NE(head->sum(batch, live, {}, model, kSeed + 1).item<double>(), whole);
}

// What is shown: grey where it is seen, 0 where it is not; there then what the head says, whose distance to the image
// is its loss.
TEST(ImageRestoration, PicturesAreWhatIsSeenAndWhatIsRestored) {
  const std::shared_ptr<ImageRestoration> head = make_head("mask_ratio: 0.6");
  PlainModel model;
  const Batch batch = make_batch(2);
  const ImageRestoration::Pictures pictures =
      head->restore(batch, model.forward(batch, kSeed, head->tokens()), model, kSeed);
  ASSERT_EQ(pictures.seen.sizes(), batch.images.sizes());
  ASSERT_EQ(pictures.restored.sizes(), batch.images.sizes());
  EXPECT_FALSE(pictures.restored.requires_grad());
  double squares = 0;
  for (int64_t i = 0; i < 2; ++i) {
    const std::vector<int64_t> order = by_noise(batch.position[i].item<int64_t>());
    for (size_t k = 0; k < order.size(); ++k) {
      const auto cut = [&](const at::Tensor& images) {
        return images[i]
            .narrow(1, order[k] / kColumns * kPatch, kPatch)
            .narrow(2, order[k] % kColumns * kPatch, kPatch);
      };
      const at::Tensor image = cut(batch.images);
      const at::Tensor grey = image[0] * 0.2989 + image[1] * 0.5870 + image[2] * 0.1140;
      if (k < 6) {  // floor(19 * 0.4) - 1
        EXPECT_LE((cut(pictures.seen) - grey.unsqueeze(0)).abs().max().item<double>(), 1e-14);
        EXPECT_TRUE(at::equal(cut(pictures.restored), cut(pictures.seen)));
      } else {
        EXPECT_EQ(cut(pictures.seen).abs().max().item<double>(), 0);
        squares += (cut(pictures.restored) - image).square().mean().item<double>();
      }
    }
  }
  EXPECT_NEAR(squares, sum_of(*head, batch, model).item<double>(), 1e-12 * squares);
}

}  // namespace
}  // namespace muster
