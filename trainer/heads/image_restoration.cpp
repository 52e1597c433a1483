#include "trainer/heads/image_restoration.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/mse_loss.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "dataloader/random.h"
#include "trainer/encoders/host_to_device.h"
#include "trainer/encoders/position_tables.h"
#include "trainer/heads/reconstruction_block.h"

namespace muster {
namespace {

// Streams of the first values, apart from the model's and other heads'.
constexpr uint64_t kFirstTensor = uint64_t{2} << 32;

PatchGrid grid_of(const VisionConfig& image) {
  return {image.height_pixels() / image.patch(), image.width_pixels() / image.patch()};
}

int64_t count_attention_heads(const ImageRestorationConfig& config, int64_t width) {
  return config.attention_heads() > 0 ? config.attention_heads() : std::max<int64_t>(1, width / 64);
}

// [1 + patches, width]
at::Tensor position_table(PatchGrid grid, int64_t width) {
  at::Tensor table = at::zeros({1 + grid.rows * grid.columns, width});
  const int64_t quarter = width / 4;
  float* values = table.mutable_data_ptr<float>() + width;
  for (int64_t patch = 0; patch < grid.rows * grid.columns; ++patch, values += width) {
    const int64_t places[] = {patch % grid.columns, patch / grid.columns};
    for (int64_t half = 0; half < 2; ++half) {
      for (int64_t i = 0; i < quarter; ++i) {
        const double frequency = std::pow(10000.0, -static_cast<double>(i) / static_cast<double>(quarter));
        const double angle = static_cast<double>(places[half]) * frequency;
        values[2 * half * quarter + i] = static_cast<float>(std::sin(angle));
        values[(2 * half + 1) * quarter + i] = static_cast<float>(std::cos(angle));
      }
    }
  }
  return table;
}

// Of a batch's images.
struct Mask {
  at::Tensor kept;     // [b, K] the patches that are seen, ascending
  at::Tensor visible;  // [b * (1 + K)] the class token's and their places among the b * (1 + patches) tokens
  at::Tensor hidden;   // [b * hidden] likewise of the others
  at::Tensor scored;   // of those that are in the loss
};

class TokenRestoration : public ImageRestoration {
 public:
  TokenRestoration(const ImageRestorationConfig& config, const ModelConfig& model, uint64_t seed)
      : config_(config),
        grid_(grid_of(model.image())),
        patches_(grid_.rows * grid_.columns),
        patch_size_(model.image().patch()),
        counts_(restored_patches(config, model)) {
    const int64_t width = model.joint_width(), numbers = 3 * patch_size_ * patch_size_;
    const double inside = 1.0 / std::sqrt(static_cast<double>(width));
    const double out = inside / std::sqrt(2.0 * config.blocks());
    Initialiser initialiser(seed, kFirstTensor);
    const auto linear = [&](const char* name, int64_t outputs) {
      const at::Tensor weight = initialiser.uniform({outputs, width}, inside);
      return register_module(name, std::make_shared<Linear>(weight, initialiser.uniform({outputs}, inside)));
    };
    const auto norm = [&](const char* name) { return register_module(name, std::make_shared<LayerNorm>(width)); };
    const BlockOptions options{width,
                               count_attention_heads(config, width),
                               ModelConfig::QUICK_GELU,
                               {inside, out, inside / std::sqrt(2.0)},
                               /*causal=*/false};
    visible_norm_ = norm("visible_norm");
    embed_ = linear("embed", width);
    hidden_ = register_parameter("hidden", at::zeros({width}));
    text_norm_ = norm("text_norm");
    cross_ = register_module("cross", std::make_shared<ContextAttention>(options, /*chooses=*/true, initialiser));
    blocks_norm_ = norm("blocks_norm");
    blocks_ = register_module("blocks", std::make_shared<Blocks>(config.blocks(), options, initialiser));
    output_norm_ = norm("output_norm");
    pixels_ = linear("pixels", numbers);
    positions_ = register_buffer("positions", position_table(grid_, width));
  }

  std::string name() const override { return "image_restoration"; }
  bool needs_references() const override { return false; }
  TokenRequest tokens() const override { return {true, config_.attend_padding()}; }
  double weight(double /*epoch*/) const override { return config_.weight(); }
  int64_t count(const Batch& batch, uint64_t /*seed*/) const override { return batch.size() * counts_.scored; }

  at::Tensor sum(const Batch& batch, const Features& live, const at::Tensor& /*references*/, Model& model,
                 uint64_t seed) const override {
    const Mask mask = draw(batch, seed);
    const at::Tensor predicted = predict(batch, live, model, seed, mask, mask.scored);
    const at::Tensor targets = patches_of(images_of(batch, model), mask.scored);
    const at::Tensor squares =
        at::mse_loss(predicted.to(hidden_.scalar_type()), targets.to(hidden_.scalar_type()), at::Reduction::Sum);
    return squares / static_cast<double>(targets.size(1));
  }

  Pictures restore(const Batch& batch, const Features& live, Model& model, uint64_t seed) const override {
    const at::NoGradGuard no_graph;
    const Mask mask = draw(batch, seed);
    const at::Tensor images = images_of(batch, model);
    const at::Tensor rows = host_to_device(patch_rows(mask.hidden), images.device());
    at::Tensor patches = to_patches(grey(images)).contiguous();
    patches.index_fill_(0, rows, 0);
    const at::Tensor seen = to_images(patches, images);
    const at::Tensor predicted = predict(batch, live, model, seed, mask, mask.hidden);
    patches.index_copy_(0, rows, predicted.to(patches.scalar_type()));
    return {seen, to_images(patches, images)};
  }

 private:
  static at::Tensor images_of(const Batch& batch, const Model& model) {
    return host_to_device(batch.images, model.device());
  }

  static at::Tensor grey(const at::Tensor& images) {
    const auto channel = [&](int64_t i) { return images.narrow(1, i, 1); };
    return (channel(0) * 0.2989 + channel(1) * 0.5870 + channel(2) * 0.1140).expand_as(images);
  }

  Mask draw(const Batch& batch, uint64_t seed) const {
    const int64_t batch_size = batch.size(), hidden = patches_ - counts_.seen;
    Mask mask;
    mask.kept = at::empty({batch_size, counts_.seen}, at::kLong);
    std::vector<int64_t> visible, unseen, scored;
    std::vector<double> noise(static_cast<size_t>(patches_));
    std::vector<int64_t> order(static_cast<size_t>(patches_));
    const at::Tensor positions = batch.position.contiguous();
    for (int64_t i = 0; i < batch_size; ++i) {
      KeyedRandom random(seed, static_cast<uint64_t>(positions.const_data_ptr<int64_t>()[i]), Purpose::kImageMask);
      for (double& value : noise) value = random.next_double();
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
        return noise[static_cast<size_t>(a)] < noise[static_cast<size_t>(b)];
      });
      const auto first_hidden = order.begin() + counts_.seen;
      std::sort(order.begin(), first_hidden);
      std::copy(order.begin(), first_hidden, mask.kept.mutable_data_ptr<int64_t>() + i * counts_.seen);
      const int64_t first_token = i * (1 + patches_);
      visible.push_back(first_token);
      for (auto patch = order.begin(); patch != first_hidden; ++patch) visible.push_back(first_token + 1 + *patch);
      for (auto patch = first_hidden; patch != order.end(); ++patch) unseen.push_back(first_token + 1 + *patch);
      scored.insert(scored.end(), unseen.end() - counts_.scored, unseen.end());
    }
    mask.visible = at::tensor(visible);
    mask.hidden = at::tensor(unseen).view({batch_size * hidden});
    mask.scored = at::tensor(scored);
    return mask;
  }

  // [wanted, 3 * patch * patch] of tokens `wanted`.
  at::Tensor predict(const Batch& batch, const Features& live, Model& model, uint64_t seed, const Mask& mask,
                     const at::Tensor& wanted) const {
    Batch grey_batch = batch;
    grey_batch.images = grey(images_of(batch, model));
    const at::Tensor visible = embed_->forward(visible_norm_->forward(model.image_tokens(grey_batch, mask.kept, seed)));
    const at::Device device = visible.device();
    const int64_t width = hidden_.size(0);
    const at::Tensor tokens =
        hidden_.expand({batch.size() * (1 + patches_), width})
            .index_copy(0, host_to_device(mask.visible, device), visible.flatten(0, 1).to(hidden_.scalar_type()));
    const at::Tensor x = tokens.view({batch.size(), 1 + patches_, width}) + positions_;
    at::Tensor seen;
    if (!config_.attend_padding()) {
      const at::Tensor captions = batch.tokens.narrow(1, 0, live.text_tokens.size(1));
      seen = host_to_device(at::arange(captions.size(1), at::kLong).unsqueeze(0) <= captions.argmax(1, true), device);
    }
    const at::Tensor met = cross_->forward(x, text_norm_->forward(live.text_tokens), seen);
    const at::Tensor z = blocks_->forward(blocks_norm_->forward(met), {}, 0, host_to_device(wanted, device));
    return pixels_->forward(output_norm_->forward(z));
  }

  // From places among tokens to places among patches, of all images.
  at::Tensor patch_rows(const at::Tensor& tokens) const { return tokens - tokens.div(1 + patches_, "floor") - 1; }

  // [b, 3, H, W] -> [b * patches, patch * patch * 3]
  at::Tensor to_patches(const at::Tensor& images) const {
    return images.reshape({images.size(0), 3, grid_.rows, patch_size_, grid_.columns, patch_size_})
        .permute({0, 2, 4, 3, 5, 1})
        .reshape({images.size(0) * patches_, 3 * patch_size_ * patch_size_});
  }

  // And back to the shape of `like`.
  at::Tensor to_images(const at::Tensor& patches, const at::Tensor& like) const {
    return patches.view({like.size(0), grid_.rows, grid_.columns, patch_size_, patch_size_, 3})
        .permute({0, 5, 1, 3, 2, 4})
        .reshape(like.sizes());
  }

  at::Tensor patches_of(const at::Tensor& images, const at::Tensor& tokens) const {
    return to_patches(images).index_select(0, host_to_device(patch_rows(tokens), images.device()));
  }

  ImageRestorationConfig config_;
  PatchGrid grid_;
  int64_t patches_, patch_size_;
  RestoredPatches counts_;
  std::shared_ptr<LayerNorm> visible_norm_, text_norm_, blocks_norm_, output_norm_;
  std::shared_ptr<Linear> embed_, pixels_;
  std::shared_ptr<ContextAttention> cross_;
  std::shared_ptr<Blocks> blocks_;
  at::Tensor hidden_, positions_;  // [width], [1 + patches, width]
};

}  // namespace

RestoredPatches restored_patches(const ImageRestorationConfig& config, const ModelConfig& model) {
  const PatchGrid grid = grid_of(model.image());
  const int64_t patches = grid.rows * grid.columns;
  const double tokens = static_cast<double>(1 + patches) * (1 - config.mask_ratio());
  const int64_t seen = std::max<int64_t>(0, static_cast<int64_t>(std::floor(tokens + 1e-9)) - 1);
  return {seen, patches - seen - (config.skip_one() ? 1 : 0)};
}

void check_image_restoration(const ImageRestorationConfig& config, const ModelConfig& model, Checks& checks) {
  const std::string path = "heads.image_restoration.";
  checks.at_least(0.0, path + "weight", config.weight(), "0: no such head");
  const bool is_share = config.mask_ratio() > 0 && config.mask_ratio() < 1;
  checks.require(is_share, path + "mask_ratio", config.mask_ratio(), "more than 0, below 1");
  checks.require(config.blocks() >= 1 && config.blocks() <= 64, path + "blocks", config.blocks(), "1 to 64");
  checks.at_least(0, path + "attention_heads", config.attention_heads(), "0: joint_width / 64");
  if (config.weight() == 0) return;
  const VisionConfig& image = model.image();
  if (is_share && image.patch() > 0 && image.height_pixels() > 0 && image.width_pixels() > 0) {
    const RestoredPatches counts = restored_patches(config, model);
    const PatchGrid grid = grid_of(image);
    if (counts.seen < 1 || counts.scored < 1) {
      checks.add(
          fmt::format("{}mask_ratio is {}: of {} patches {} would be seen and {} restored; give one that leaves 1 or "
                      "more of both",
                      path, config.mask_ratio(), grid.rows * grid.columns, counts.seen, counts.scored));
    }
  }
  if (!model.has_joint_width() || config.attention_heads() < 0) return;
  const int64_t heads = count_attention_heads(config, model.joint_width());
  if (model.joint_width() % heads != 0) {
    checks.add(
        fmt::format("{}attention_heads ({}) must divide model.joint_width ({})", path, heads, model.joint_width()));
  }
  if (model.joint_width() % 4 != 0) {
    checks.add(
        fmt::format("heads.image_restoration needs a model.joint_width that 4 divides, not {}: sines and "
                    "cosines of row and column",
                    model.joint_width()));
  }
}

std::shared_ptr<ImageRestoration> make_image_restoration(const ImageRestorationConfig& config, const ModelConfig& model,
                                                         uint64_t seed) {
  return std::make_shared<TokenRestoration>(config, model, seed);
}

}  // namespace muster
