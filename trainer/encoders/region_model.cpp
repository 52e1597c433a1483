#include <fmt/format.h>

#include <map>
#include <stdexcept>
#include <string>
#include <utility>

#include "launch/error.h"
#include "trainer/encoders/host_to_device.h"
#include "trainer/encoders/made_models.h"
#include "trainer/encoders/region_config.h"
#include "trainer/encoders/region_towers.h"

namespace muster {
namespace {

// Losses take no bfloat16.
SetOutputs widened(SetOutputs outputs) {
  for (at::Tensor* tensor : {&outputs.global, &outputs.set.rows}) {
    if (tensor->scalar_type() == at::kBFloat16) *tensor = tensor->to(at::kFloat);
  }
  return outputs;
}

class RegionModel : public Model {
 public:
  RegionModel(const ModelConfig& config, uint64_t seed)
      : dropout_(config.dropout()), region_width_(config.regions().width()) {
    Initialiser initialiser(seed);
    const bool shared = config.regions().shared_joint();
    joint_layers_ = config.regions().joint_layers();
    const auto make_joint = [&] {
      return std::make_shared<PostNormBlocks>(joint_layers_, joint_options(config), /*equal_start=*/true, initialiser);
    };
    image_joint_ = register_module(shared ? "joint" : "image_joint", make_joint());
    text_joint_ = shared ? image_joint_ : register_module("text_joint", make_joint());
    image_ = register_module("image", std::make_shared<RegionTower>(tower_sizes(config), image_joint_, initialiser));
    text_ = register_module(
        "text", std::make_shared<WordTower>(bert_sizes(config), config.joint_width(), config.regions().drop_last_word(),
                                            text_joint_, initialiser));
  }

  ForwardPass begin_forward(const Batch& batch, uint64_t seed, const TokenRequest& tokens) override {
    if (tokens.text || tokens.image) throw std::logic_error("RegionModel: no tokens for heads");
    const DropoutKey key = dropout_key(batch, seed);
    SetOutputs words = widened(text_->forward(batch.tokens, key, image_->dropout_layers()));
    ForwardPass pass;
    pass.texts.pairs = {{"global", {}, words.global}, {kSetPair, {}, words.set.rows}};
    pass.texts.pairs[1].sets = {counts_of(batch), std::move(words.set.sizes)};
    pass.finish = [this, key, regions = batch.regions, boxes = batch.boxes, features = pass.texts]() mutable {
      const SetOutputs images = encode(regions, boxes, features.pairs[1].sets->image, key);
      features.pairs[0].image = images.global;
      features.pairs[1].image = images.set.rows;
      return std::move(features);
    };
    return pass;
  }

  at::Tensor encode_image(const Batch& batch) override { return encode(batch).global; }
  at::Tensor encode_text(const at::Tensor& tokens) override { return text_->forward(tokens, {}, 0).global; }
  SetOutputs encode_image_sets(const Batch& batch) override { return encode(batch); }
  SetOutputs encode_text_sets(const at::Tensor& tokens) override { return text_->forward(tokens, {}, 0); }

  at::Tensor text_tokens(const Batch& /*batch*/, uint64_t /*seed*/, bool /*padding*/) override {
    throw std::logic_error("RegionModel: no tokens for heads");
  }
  at::Tensor image_tokens(const Batch& /*batch*/, const at::Tensor& /*kept*/, uint64_t /*seed*/) override {
    throw std::logic_error("RegionModel: no tokens for heads");
  }
  at::Tensor token_embedding() const override { return text_->token_embedding(); }

  std::map<std::string, int64_t> layers_above() const override {
    std::map<std::string, int64_t> above;
    for (const auto& parameter : named_parameters()) above[parameter.key()] = layers_above(parameter.key());
    return above;
  }

 private:
  // A tower's blocks and the joint ones are one stack.
  int64_t layers_above(const std::string& name) const {
    const auto after = [&](const std::string& part) {
      const size_t at = name.find(part);
      return at == std::string::npos ? int64_t{-1} : int64_t{std::stoll(name.substr(at + part.size()))};
    };
    if (const int64_t block = after("joint."); block >= 0) return joint_layers_ - block;
    const bool is_image = name.rfind("image.", 0) == 0;
    const int64_t blocks = is_image ? image_->layers() : text_->layers();
    if (const int64_t block = after("blocks."); block >= 0) return joint_layers_ + blocks - block;
    return name.find(".projection.") != std::string::npos ? joint_layers_ : joint_layers_ + blocks + 1;
  }

  static std::vector<int64_t> counts_of(const Batch& batch) {
    if (!batch.region_counts.defined()) throw std::logic_error("RegionModel: a batch without regions");
    const at::Tensor counts = batch.region_counts.contiguous();
    return {counts.const_data_ptr<int64_t>(), counts.const_data_ptr<int64_t>() + counts.numel()};
  }

  SetOutputs encode(const Batch& batch) const { return encode(batch.regions, batch.boxes, counts_of(batch), {}); }

  SetOutputs encode(const at::Tensor& regions, const at::Tensor& boxes, const std::vector<int64_t>& counts,
                    const DropoutKey& key) const {
    if (regions.dim() != 2 || regions.size(1) != region_width_) {
      throw ConfigError(fmt::format("regions of width {} do not fit the model: set model.regions.width to it",
                                    regions.size(regions.dim() - 1)));
    }
    return widened(image_->forward(host_to_device(regions, device()), host_to_device(boxes, device()), counts, key, 0));
  }

  DropoutKey dropout_key(const Batch& batch, uint64_t seed) const {
    if (!is_training() || dropout_ == 0) return {};
    return {dropout_, seed, batch.position.contiguous()};
  }

  double dropout_;
  int64_t region_width_;
  int64_t joint_layers_ = 0;
  std::shared_ptr<PostNormBlocks> image_joint_, text_joint_;
  std::shared_ptr<RegionTower> image_;
  std::shared_ptr<WordTower> text_;
};

}  // namespace

std::shared_ptr<Model> make_region_model(const ModelConfig& config, uint64_t seed) {
  return std::make_shared<RegionModel>(config, seed);
}

}  // namespace muster
