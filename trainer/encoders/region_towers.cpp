#include "trainer/encoders/region_towers.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <utility>

#include "trainer/encoders/host_to_device.h"

namespace muster {
namespace {

// PyTorch's default, as published code leaves it.
std::shared_ptr<Linear> make_linear(int64_t out, int64_t in, Initialiser& initialiser) {
  const double bound = 1.0 / std::sqrt(static_cast<double>(in));
  at::Tensor weight = initialiser.uniform({out, in}, bound);
  return std::make_shared<Linear>(std::move(weight), initialiser.uniform({out}, bound));
}

at::Tensor on_device(const std::vector<int64_t>& numbers, at::Device device) {
  return host_to_device(at::tensor(numbers, at::kLong), device);
}

// bool [sets, most]: the first so many of each.
at::Tensor first_of_each(const std::vector<int64_t>& counts, int64_t most) {
  return at::arange(most, at::kLong).unsqueeze(0) < at::tensor(counts, at::kLong).unsqueeze(1);
}

// Tokens [first, first + count) of each sample of tokens [b, T, d].
at::Tensor pick(const at::Tensor& tokens, int64_t first, const std::vector<int64_t>& counts) {
  std::vector<int64_t> places;
  for (size_t sample = 0; sample < counts.size(); ++sample) {
    for (int64_t i = 0; i < counts[sample]; ++i) {
      places.push_back(static_cast<int64_t>(sample) * tokens.size(1) + first + i);
    }
  }
  return tokens.reshape({-1, tokens.size(2)}).index_select(0, on_device(places, tokens.device()));
}

SetOutputs nothing(const at::Tensor& like, int64_t width) {
  const at::Tensor none = at::zeros({0, width}, like.options().requires_grad(false));
  return {none, {none, {}}};
}

}  // namespace

RegionTower::RegionTower(const RegionTowerSizes& sizes, std::shared_ptr<PostNormBlocks> joint, Initialiser& initialiser)
    : joint_width_(sizes.joint_width), joint_(std::move(joint)) {
  expand_ = register_module("expand", make_linear(sizes.width, sizes.width + kBoxNumbers, initialiser));
  contract_ = register_module("contract", make_linear(sizes.width, sizes.width, initialiser));
  const PostNormOptions options{sizes.width, sizes.heads, sizes.hidden};
  blocks_ = register_module("blocks",
                            std::make_shared<PostNormBlocks>(sizes.layers, options, /*equal_start=*/true, initialiser));
  projection_ = register_module("projection", make_linear(sizes.joint_width, sizes.width, initialiser));
}

SetOutputs RegionTower::forward(const at::Tensor& regions, const at::Tensor& boxes, const std::vector<int64_t>& counts,
                                const DropoutKey& dropout, uint32_t first_layer) const {
  const at::Tensor weight = parameters().front();
  if (counts.empty()) return nothing(weight, joint_width_);
  if (*std::min_element(counts.begin(), counts.end()) < 1)
    throw std::logic_error("RegionTower: an image without regions");
  const int64_t most = *std::max_element(counts.begin(), counts.end());
  const int64_t total = std::accumulate(counts.begin(), counts.end(), int64_t{0});
  if (regions.size(0) != total || boxes.size(0) != total)
    throw std::logic_error("RegionTower: regions and counts differ");
  const at::Tensor described = at::cat({regions.to(weight.scalar_type()), boxes.to(weight.scalar_type())}, 1);
  // The whole's token is one of zeros behind the regions, where padding points to as well.
  const at::Tensor with_whole = at::cat({described, at::zeros({1, described.size(1)}, described.options())});
  const at::Tensor processed = contract_->forward(at::relu(expand_->forward(with_whole)));
  std::vector<int64_t> places;
  std::vector<int64_t> tokens;  // of each image
  int64_t next = 0;
  for (const int64_t count : counts) {
    places.push_back(total);
    for (int64_t i = 0; i < most; ++i) places.push_back(i < count ? next + i : total);
    next += count;
    tokens.push_back(1 + count);
  }
  const auto images = static_cast<int64_t>(counts.size());
  const at::Tensor seen = host_to_device(first_of_each(tokens, 1 + most), weight.device());
  at::Tensor x = processed.index_select(0, on_device(places, weight.device())).view({images, 1 + most, -1});
  x = projection_->forward(blocks_->forward(x, seen, dropout, first_layer));
  x = joint_->forward(x, seen, dropout, first_layer + blocks_->dropout_layers());
  return {x.select(1, 0), {pick(x, 1, counts), counts}};
}

WordTower::WordTower(const BertSizes& sizes, int64_t joint_width, bool drop_last_word,
                     std::shared_ptr<PostNormBlocks> joint, Initialiser& initialiser)
    : joint_width_(joint_width), drop_last_word_(drop_last_word), joint_(std::move(joint)) {
  bert_ = register_module("bert", std::make_shared<Bert>(sizes, initialiser));
  projection_ = register_module("projection", make_linear(joint_width, sizes.width, initialiser));
}

SetOutputs WordTower::forward(const at::Tensor& tokens, const DropoutKey& dropout, uint32_t first_layer) const {
  if (tokens.size(0) == 0) return nothing(bert_->token_embedding(), joint_width_);
  std::vector<int64_t> counts = token_counts(tokens);
  at::Tensor x = projection_->forward(bert_->forward(tokens, dropout, first_layer));
  for (int64_t& count : counts) count = std::max<int64_t>(count, 1);
  const at::Tensor seen = host_to_device(first_of_each(counts, x.size(1)), x.device());
  x = joint_->forward(x, seen, dropout, first_layer + bert_->dropout_layers());
  const int64_t around = drop_last_word_ ? 3 : 2;
  for (int64_t& count : counts) count = std::max<int64_t>(0, count - around);
  return {x.select(1, 0), {pick(x, 1, counts), counts}};
}

}  // namespace muster
