#include "trainer/encoders/bert.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <utility>

#include "launch/error.h"
#include "trainer/encoders/host_to_device.h"

namespace muster {
namespace {

constexpr double kScale = 0.02;
constexpr double kNormEpsilon = 1e-12;

// A tensor of the file, and where it goes: `rows` of ours from `first` on (all: the whole).
struct Place {
  at::Tensor to;
  int64_t first = 0;
  int64_t rows = -1;
};

}  // namespace

std::vector<int64_t> token_counts(const at::Tensor& tokens) {
  const at::Tensor rows = tokens.contiguous();
  const int64_t* ids = rows.const_data_ptr<int64_t>();
  const int64_t context = rows.size(1);
  std::vector<int64_t> counts;
  for (int64_t row = 0; row < rows.size(0); ++row, ids += context) {
    int64_t count = context;
    while (count > 0 && ids[count - 1] == 0) --count;
    counts.push_back(count);
  }
  return counts;
}

Bert::Bert(const BertSizes& sizes, Initialiser& initialiser) : sizes_(sizes) {
  const int64_t width = sizes.width;
  token_embedding_ = register_parameter("token_embedding", initialiser.normal({sizes.vocabulary, width}, kScale));
  position_embedding_ = register_parameter("position_embedding", initialiser.normal({sizes.positions, width}, kScale));
  type_embedding_ = register_parameter("type_embedding", initialiser.normal({2, width}, kScale));
  embedding_norm_ = register_module("embedding_norm", std::make_shared<LayerNorm>(width, kNormEpsilon));
  const PostNormOptions options{width, sizes.heads, sizes.hidden, PostNormOptions::kGelu, kNormEpsilon, kScale};
  blocks_ = register_module(
      "blocks", std::make_shared<PostNormBlocks>(sizes.layers, options, /*equal_start=*/false, initialiser));
}

at::Tensor Bert::forward(const at::Tensor& tokens, const DropoutKey& dropout, uint32_t first_layer) const {
  if (tokens.dim() != 2 || tokens.size(1) < 1 || tokens.size(1) > sizes_.positions) {
    throw ConfigError(fmt::format("tokens of shape [{}] do not fit the text encoder's {} positions",
                                  fmt::join(tokens.sizes(), ", "), sizes_.positions));
  }
  const std::vector<int64_t> counts = token_counts(tokens);
  const int64_t used = std::max<int64_t>(1, *std::max_element(counts.begin(), counts.end()));
  const at::Tensor ids = tokens.narrow(1, 0, used).contiguous();
  const auto [least, most] =
      std::minmax_element(ids.const_data_ptr<int64_t>(), ids.const_data_ptr<int64_t>() + ids.numel());
  if (*least < 0 || *most >= sizes_.vocabulary) {
    throw ConfigError(
        fmt::format("token id {} is outside the text encoder's vocabulary ({}): the tokenizer and the "
                    "model do not match",
                    *least < 0 ? *least : *most, sizes_.vocabulary));
  }
  const at::Device device = token_embedding_.device();
  const at::Tensor seen =
      at::arange(used, at::kLong).unsqueeze(0) < at::tensor(counts, at::kLong).clamp_min(1).unsqueeze(1);
  const at::Tensor embedded = at::embedding(token_embedding_, host_to_device(ids, device), /*padding_idx=*/-1,
                                            /*scale_grad_by_freq=*/false, /*sparse=*/true) +
                              position_embedding_.narrow(0, 0, used) + type_embedding_[0];
  at::Tensor x = embedding_norm_->forward(embedded);
  if (dropout.active()) x = add_with_dropout(at::zeros_like(x), x, dropout, first_layer);
  return blocks_->forward(x, host_to_device(seen, device), dropout, first_layer + 1);
}

void Bert::load(const WeightFile& file) {
  std::map<std::string, at::Tensor> ours;
  for (const auto& parameter : named_parameters()) ours[parameter.key()] = parameter.value();
  const int64_t width = sizes_.width;
  std::map<std::string, Place> places = {
      {"embeddings.word_embeddings.weight", {ours.at("token_embedding")}},
      {"embeddings.position_embeddings.weight", {ours.at("position_embedding")}},
      {"embeddings.token_type_embeddings.weight", {ours.at("type_embedding")}},
      {"embeddings.LayerNorm.weight", {ours.at("embedding_norm.weight")}},
      {"embeddings.LayerNorm.bias", {ours.at("embedding_norm.bias")}},
  };
  for (int64_t layer = 0; layer < sizes_.layers; ++layer) {
    const std::string own = fmt::format("blocks.{}.", layer), theirs = fmt::format("encoder.layer.{}.", layer);
    for (const std::string kind : {"weight", "bias"}) {
      int64_t first = 0;
      for (const std::string part : {"query", "key", "value"}) {
        places[theirs + "attention.self." + part + "." + kind] = {ours.at(own + "attention.qkv." + kind), first, width};
        first += width;
      }
      places[theirs + "attention.output.dense." + kind] = {ours.at(own + "attention.output." + kind)};
      places[theirs + "attention.output.LayerNorm." + kind] = {ours.at(own + "attention_norm." + kind)};
      places[theirs + "intermediate.dense." + kind] = {ours.at(own + "expand." + kind)};
      places[theirs + "output.dense." + kind] = {ours.at(own + "contract." + kind)};
      places[theirs + "output.LayerNorm." + kind] = {ours.at(own + "mlp_norm." + kind)};
    }
  }
  std::vector<size_t> wanted;
  std::map<size_t, Place> of_tensor;
  for (size_t i = 0; i < file.tensors().size(); ++i) {
    std::string name = file.tensors()[i].name;
    if (name.rfind("bert.", 0) == 0) name = name.substr(5);
    const auto place = places.find(name);
    if (place == places.end()) continue;
    const at::Tensor to =
        place->second.rows < 0 ? place->second.to : place->second.to.narrow(0, place->second.first, place->second.rows);
    if (file.tensors()[i].sizes != to.sizes().vec()) {
      throw DataError(fmt::format("{}: {} has the shape [{}], the model's is [{}]", file.path(), file.tensors()[i].name,
                                  fmt::join(file.tensors()[i].sizes, ", "), fmt::join(to.sizes(), ", ")));
    }
    wanted.push_back(i);
    of_tensor[i] = {to};
    places.erase(place);
  }
  if (!places.empty()) {
    throw DataError(
        fmt::format("{}: has no {}; name a BERT in transformers' format", file.path(), places.begin()->first));
  }
  const at::NoGradGuard no_grad;
  file.read(wanted, [&](size_t i, const at::Tensor& tensor) { of_tensor.at(i).to.copy_(tensor); });
}

}  // namespace muster
