#include "trainer/encoders/bert_weights.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>
#include <set>

#include "launch/error.h"
#include "trainer/encoders/region_config.h"

namespace muster {
namespace {

// Where a tensor of the file goes: `rows` of ours from `first` on (-1: the whole).
struct Place {
  at::Tensor to;
  int64_t first = 0;
  int64_t rows = -1;

  at::Tensor destination() const { return rows < 0 ? to : to.narrow(0, first, rows); }
};

std::string without_prefix(const std::string& name) {
  return name.rfind("bert.", 0) == 0 ? name.substr(5) : name;
}

// "encoder.layer.6" of a block's tensor, "pooler" of another module's.
std::string module_of(const std::string& name) {
  const std::string block = "encoder.layer.";
  return name.substr(0, name.find('.', name.rfind(block, 0) == 0 ? block.size() : 0));
}

// By the file's names.
std::map<std::string, Place> places_of(const BertSizes& sizes, const std::string& prefix, const NamedTensors& into) {
  const auto ours = [&](const std::string& name) { return find_tensor(into, prefix + name, "the model"); };
  std::map<std::string, Place> places = {
      {"embeddings.word_embeddings.weight", {ours("token_embedding")}},
      {"embeddings.position_embeddings.weight", {ours("position_embedding")}},
      {"embeddings.token_type_embeddings.weight", {ours("type_embedding")}},
      {"embeddings.LayerNorm.weight", {ours("embedding_norm.weight")}},
      {"embeddings.LayerNorm.bias", {ours("embedding_norm.bias")}},
  };
  for (int64_t layer = 0; layer < sizes.layers; ++layer) {
    const std::string own = fmt::format("blocks.{}.", layer), theirs = fmt::format("encoder.layer.{}.", layer);
    for (const std::string kind : {"weight", "bias"}) {
      int64_t first = 0;
      for (const std::string part : {"query", "key", "value"}) {
        places[theirs + "attention.self." + part + "." + kind] = {ours(own + "attention.qkv." + kind), first,
                                                                  sizes.width};
        first += sizes.width;
      }
      places[theirs + "attention.output.dense." + kind] = {ours(own + "attention.output." + kind)};
      places[theirs + "attention.output.LayerNorm." + kind] = {ours(own + "attention_norm." + kind)};
      places[theirs + "intermediate.dense." + kind] = {ours(own + "expand." + kind)};
      places[theirs + "output.dense." + kind] = {ours(own + "contract." + kind)};
      places[theirs + "output.LayerNorm." + kind] = {ours(own + "mlp_norm." + kind)};
    }
  }
  return places;
}

}  // namespace

std::vector<std::string> copy_bert(const WeightFile& file, const BertSizes& sizes, const std::string& prefix,
                                   const NamedTensors& into) {
  std::map<std::string, Place> places = places_of(sizes, prefix, into);
  std::vector<size_t> wanted;
  std::map<size_t, at::Tensor> of_tensor;
  std::set<std::string> spare;
  for (size_t i = 0; i < file.tensors().size(); ++i) {
    const TensorShape& tensor = file.tensors()[i];
    if (without_prefix(tensor.name) == "embeddings.position_ids") continue;  // 0, 1, 2, ...
    const auto place = places.find(without_prefix(tensor.name));
    if (place == places.end()) {
      spare.insert(module_of(without_prefix(tensor.name)));
      continue;
    }
    const at::Tensor to = place->second.destination();
    if (tensor.sizes != to.sizes().vec()) {
      throw DataError(fmt::format("{}: {} has the shape [{}], the model's is [{}]; give the model the file's sizes",
                                  file.path(), tensor.name, fmt::join(tensor.sizes, ", "),
                                  fmt::join(to.sizes(), ", ")));
    }
    wanted.push_back(i);
    of_tensor[i] = to;
    places.erase(place);
  }
  if (!places.empty()) {
    throw DataError(
        fmt::format("{}: has no {}; name a BERT in transformers' format", file.path(), places.begin()->first));
  }
  const at::NoGradGuard no_grad;
  file.read(wanted, [&](size_t i, const at::Tensor& tensor) { of_tensor.at(i).copy_(tensor); });
  return {spare.begin(), spare.end()};
}

std::vector<std::string> copy_bert(const WeightFile& file, const ModelConfig& config, const NamedTensors& into) {
  return copy_bert(file, bert_sizes(config), kBertPrefix, into);
}

}  // namespace muster
