#include "trainer/encoders/bert.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "launch/error.h"
#include "trainer/encoders/host_to_device.h"

namespace muster {
namespace {

constexpr double kScale = 0.02;
constexpr double kNormEpsilon = 1e-12;

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

}  // namespace muster
