#include "trainer/encoders/token_selection.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "trainer/encoders/host_to_device.h"

namespace muster {
namespace {

constexpr double kLengthEpsilon = 1e-8;

int64_t share_of(int64_t all, const ModelConfig& config) {
  const TokenSelectionConfig& selection = config.token_selection();
  return selection.width() == 0 ? 0 : static_cast<int64_t>(static_cast<double>(all) * selection.ratio());
}

std::shared_ptr<Linear> make_linear(int64_t out, int64_t in, Initialiser& initialiser) {
  const double bound = 1.0 / std::sqrt(static_cast<double>(in));
  const at::Tensor weight = initialiser.uniform({out, in}, bound);
  return std::make_shared<Linear>(weight, initialiser.uniform({out}, bound));
}

// Which of the b * k tokens are transformed, and where each of the k is then found: those that do not count are the
// first of their row once more, and of rows without any the one behind all.
struct Places {
  std::vector<int64_t> kept;
  std::vector<int64_t> found;
  bool any_empty = false;
};

Places places_of(const at::Tensor& counts, int64_t k, bool padding) {
  Places places;
  const int64_t* count = counts.const_data_ptr<int64_t>();
  const int64_t rows = counts.size(0);
  for (int64_t row = 0; row < rows; ++row) {
    const auto first = padding ? row * k : static_cast<int64_t>(places.kept.size());
    for (int64_t i = 0; i < k; ++i) {
      if (padding || i < count[row]) places.kept.push_back(row * k + i);
      places.found.push_back(count[row] == 0 ? -1 : first + (i < count[row] ? i : 0));
    }
    places.any_empty |= count[row] == 0;
  }
  std::replace(places.found.begin(), places.found.end(), int64_t{-1}, static_cast<int64_t>(places.kept.size()));
  return places;
}

}  // namespace

int64_t selected_patches(const ModelConfig& config) {
  const VisionConfig& image = config.image();
  return share_of(int64_t{image.width_pixels() / image.patch()} * (image.height_pixels() / image.patch()), config);
}

int64_t selected_words(const ModelConfig& config) {
  return share_of(config.text().context() - 2, config);
}

SelectionHead::SelectionHead(const ModelConfig& config, Initialiser& initialiser)
    : padding_(config.token_selection().padding()) {
  const int64_t in = config.joint_width(), width = config.token_selection().width();
  residual_ = register_module("residual", make_linear(width, in, initialiser));
  hidden_ = register_module("hidden", make_linear(width / 2, in, initialiser));
  norm_ = register_module("norm", std::make_shared<BatchNorm>(width / 2));
  output_ = register_module("output", make_linear(width, width / 2, initialiser));
}

at::Tensor SelectionHead::transform(const at::Tensor& tokens) const {
  const at::Tensor x = tokens / (at::linalg_vector_norm(tokens, 2, {1}, /*keepdim=*/true) + kLengthEpsilon);
  const at::Tensor hidden = at::relu(norm_->forward(hidden_->forward(x)));
  return (output_->forward(hidden) + residual_->forward(x)).to(tokens.scalar_type());
}

at::Tensor SelectionHead::forward(const at::Tensor& tokens, const at::Tensor& counts) const {
  const int64_t rows = tokens.size(0), k = tokens.size(1);
  const auto largest = [&](const at::Tensor& made) { return std::get<0>(made.view({rows, k, made.size(1)}).max(1)); };
  const at::Tensor all = tokens.flatten(0, 1);
  if (!counts.defined()) return largest(transform(all));
  const Places places = places_of(counts, k, padding_);
  const auto on_device = [&](const std::vector<int64_t>& of) {
    return host_to_device(at::tensor(of, at::kLong), tokens.device());
  };
  at::Tensor made = transform(padding_ ? all : all.index_select(0, on_device(places.kept)));
  if (places.any_empty) made = at::cat({made, at::zeros({1, made.size(1)}, made.options())});
  return largest(made.index_select(0, on_device(places.found)));
}

}  // namespace muster
