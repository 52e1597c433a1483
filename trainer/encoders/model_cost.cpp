#include "trainer/encoders/model_cost.h"

#include <fmt/format.h>

#include <algorithm>

#include "trainer/encoders/model_config.h"
#include "trainer/encoders/region_config.h"
#include "trainer/encoders/size_list.h"
#include "trainer/encoders/token_selection.h"

namespace muster {
namespace {

constexpr int64_t kFloat = 4, kHalf = 2, kIndex = 8;

// What a tower is made of.
struct Tower {
  int64_t tokens, width, layers, heads, patch_numbers;  // 3 p^2; 0: no patches
  int64_t selected = 0;                                 // tokens beside the feature's
};

Tower image_tower(const ModelConfig& config) {
  const VisionConfig& image = config.image();
  const int64_t patch = image.patch();
  return {count_patches(config) + 1, image.width(),           image.layers(), image.heads(),
          3 * patch * patch,         selected_patches(config)};
}

Tower text_tower(const ModelConfig& config, int64_t tokens) {
  const TextConfig& text = config.text();
  if (!selects_tokens(config)) return {tokens, text.width(), text.layers(), text.heads(), 0};
  const int64_t computed = config.token_selection().padding() ? text.context() : tokens;
  const int64_t words = std::max<int64_t>(1, std::min(selected_words(config), computed - 2));
  return {computed, text.width(), text.layers(), text.heads(), 0, words};
}

TowerFlop tower_flop(const Tower& tower, int64_t joint_width) {
  const auto w = static_cast<double>(tower.width), tokens = static_cast<double>(tower.tokens);
  const double attention = 6 * w * w * tokens + 4 * w * tokens * tokens, rest = 18 * w * w;
  const double patches = 2 * static_cast<double>(tower.patch_numbers) * w * (tokens - 1);
  const double projection = 2 * w * static_cast<double>(joint_width);
  TowerFlop flop;
  const auto selected = static_cast<double>(tower.selected);
  const double looks = tower.selected > 0 ? 2 * w * tokens : 0;
  flop.whole_forward = patches + static_cast<double>(tower.layers) * (attention + rest * tokens) + projection;
  const double made = flop.whole_forward - rest * (tokens - 1) + (rest + projection) * selected;
  flop.forward = made + looks;
  flop.backward = 2 * made - patches;
  return flop;
}

TowerFlop all_tokens_flop(const Tower& tower, int64_t joint_width) {
  const double w = static_cast<double>(tower.width), others = static_cast<double>(tower.tokens - 1);
  const double projections = 2 * w * static_cast<double>(joint_width) * others;
  const double patches = 2 * static_cast<double>(tower.patch_numbers) * w * others;
  TowerFlop flop;
  flop.whole_forward = flop.forward = tower_flop(tower, joint_width).whole_forward + projections;
  flop.backward = 2 * flop.forward - patches;
  return flop;
}

void add_blocks(SizeList& sizes, const std::string& name, int64_t layers, int64_t width) {
  for (int64_t i = 0; i < layers; ++i) {
    const std::string block = fmt::format("{}.{}", name, i);
    sizes.norm(block + ".attention_norm", width);
    sizes.linear(block + ".attention.qkv", 3 * width, width);
    sizes.linear(block + ".attention.output", width, width);
    sizes.norm(block + ".mlp_norm", width);
    sizes.linear(block + ".mlp.expand", 4 * width, width);
    sizes.linear(block + ".mlp.contract", width, 4 * width);
  }
}

void add_selection(SizeList& sizes, const std::string& name, const ModelConfig& config) {
  const int64_t in = config.joint_width(), width = config.token_selection().width();
  sizes.linear(name + ".residual", width, in);
  sizes.linear(name + ".hidden", width / 2, in);
  sizes.norm(name + ".norm", width / 2);
  sizes.linear(name + ".output", width, width / 2);
}

struct Bytes {
  int64_t product;   // of a number that goes into a product or comes out of one
  int64_t mlp_kept;  // hidden layers that the activation keeps
  bool dropout;
};

// A layer norm keeps its input, elsewhere counted, and a mean and a deviation a token.
int64_t norm_bytes(int64_t tokens) {
  return 2 * kFloat * tokens;
}

// `carried`: tokens that go on after attention; fewer than `tokens` in the last block.
int64_t block_bytes(const Tower& tower, int64_t tokens, int64_t carried, const Bytes& bytes) {
  const int64_t w = tower.width;
  const int64_t input = kFloat * w * tokens;
  const int64_t attention = bytes.product * (w + 3 * w + w) * tokens + kFloat * tower.heads * tokens;
  const int64_t selected = carried == tokens ? 0 : bytes.product * w * carried;
  const int64_t second = kFloat * w * carried + bytes.product * (w + 4 * w * bytes.mlp_kept) * carried;
  const int64_t masks = bytes.dropout ? 2 * bytes.product * w * carried : 0;
  return input + norm_bytes(tokens) + attention + selected + second + norm_bytes(carried) + masks;
}

int64_t tower_bytes(const Tower& tower, int64_t rows, int64_t joint_width, const Bytes& bytes, TowerTokens leaving) {
  const int64_t tokens = rows * tower.tokens;
  const int64_t carried = leaving == TowerTokens::kAll ? tokens : rows * (1 + tower.selected);
  int64_t sum =
      block_bytes(tower, tokens, carried, bytes) + (tower.layers - 1) * block_bytes(tower, tokens, tokens, bytes);
  if (tower.patch_numbers > 0) {
    sum += bytes.product * tower.patch_numbers * (tokens - rows) + kFloat * tower.width * tokens + norm_bytes(tokens);
  }
  const int64_t features = (kFloat + bytes.product) * tower.width * carried + norm_bytes(carried);
  const int64_t chosen = leaving == TowerTokens::kAll ? kFloat * joint_width * rows : 0;
  const int64_t places = kIndex * rows * (1 + tower.selected);
  return sum + places + features + kFloat * joint_width * carried + chosen;
}

// Of the selection's layers: tokens as they come (those of one row lie together already) and, of length 1, as they go
// into two products, with their lengths; both hidden layers; where the largest number stands, and the features; of the
// batch each column's deviation.
int64_t selection_bytes(const Tower& tower, int64_t rows, const ModelConfig& config, const Bytes& bytes) {
  if (!selects_tokens(config)) return 0;
  const int64_t in = config.joint_width(), width = config.token_selection().width(), hidden = width / 2;
  const int64_t came = rows > 1 ? kFloat * in : 0;
  const bool half = bytes.product == kHalf;
  const int64_t each = came + kFloat * in + 2 * kFloat + (2 * kFloat + (half ? kHalf : 0)) * hidden;
  return rows * tower.selected * each + kFloat * hidden + rows * width * (kIndex + kFloat);
}

// Parameters that go into products.
int64_t count_multiplied(const ModelConfig& config) {
  int64_t count = 0;
  for (const auto& [name, size] : parameter_sizes(config)) {
    if (name.find("norm") == std::string::npos && name.find("embedding") == std::string::npos) count += size;
  }
  return count;
}

}  // namespace

std::vector<ParameterSize> parameter_sizes(const ModelConfig& config) {
  if (has_sets(config)) return region_parameter_sizes(config);
  SizeList sizes;
  const int64_t joint = config.joint_width();
  const Tower image = image_tower(config), text = text_tower(config, config.text().context());
  sizes.add("image.class_embedding", image.width);
  sizes.add("image.position_embedding", image.tokens * image.width);
  sizes.add("image.projection", image.width * joint);
  sizes.add("image.patch.weight", image.patch_numbers * image.width);
  sizes.norm("image.pre_norm", image.width);
  add_blocks(sizes, "image.blocks", image.layers, image.width);
  sizes.norm("image.post_norm", image.width);
  sizes.add("text.token_embedding", int64_t{config.text().vocabulary()} * text.width);
  sizes.add("text.position_embedding", text.tokens * text.width);
  sizes.add("text.projection", text.width * joint);
  add_blocks(sizes, "text.blocks", text.layers, text.width);
  sizes.norm("text.final_norm", text.width);
  if (selects_tokens(config)) {
    add_selection(sizes, "selection.image", config);
    add_selection(sizes, "selection.text", config);
  }
  return sizes.take();
}

int64_t count_parameters(const ModelConfig& config) {
  int64_t count = 0;
  for (const ParameterSize& parameter : parameter_sizes(config)) count += parameter.count;
  return count;
}

int64_t count_buffers(const ModelConfig& config) {
  return 2 * int64_t{config.token_selection().width()};  // two numbers of each of both hidden layers
}

TowerFlop selection_flop(const ModelConfig& config, int64_t tokens) {
  TowerFlop flop;
  if (!selects_tokens(config)) return flop;
  const double in = config.joint_width(), width = config.token_selection().width(), hidden = width / 2;
  const int64_t selected = image_tower(config).selected + text_tower(config, tokens).selected;
  flop.forward = flop.whole_forward = 2 * (in * hidden + hidden * width + in * width) * static_cast<double>(selected);
  flop.backward = 2 * flop.forward;
  return flop;
}

TowerFlop image_flop(const ModelConfig& config, TowerTokens leaving) {
  if (has_sets(config)) return region_flop(config);
  const Tower tower = image_tower(config);
  return leaving == TowerTokens::kAll ? all_tokens_flop(tower, config.joint_width())
                                      : tower_flop(tower, config.joint_width());
}

TowerFlop image_tokens_flop(const ModelConfig& config, int64_t kept) {
  Tower tower = image_tower(config);
  const double patches = 2 * static_cast<double>(tower.patch_numbers * tower.width * (tower.tokens - 1));
  tower.tokens = 1 + kept;
  tower.patch_numbers = tower.selected = 0;
  TowerFlop flop = all_tokens_flop(tower, config.joint_width());
  flop.forward += patches;
  flop.backward += patches;
  flop.whole_forward += patches;
  return flop;
}

TowerFlop text_flop(const ModelConfig& config, int64_t tokens, TowerTokens leaving) {
  if (has_sets(config)) return word_flop(config, tokens);
  if (leaving == TowerTokens::kFeature) return tower_flop(text_tower(config, tokens), config.joint_width());
  const TextConfig& text = config.text();
  return all_tokens_flop({tokens, text.width(), text.layers(), text.heads(), 0}, config.joint_width());
}

int64_t count_patches(const ModelConfig& config) {
  const VisionConfig& image = config.image();
  return int64_t{image.width_pixels() / image.patch()} * (image.height_pixels() / image.patch());
}

int64_t activation_bytes(const ModelConfig& config, int64_t rows, int64_t tokens, bool bf16, TowerTokens texts,
                         TowerTokens images) {
  if (has_sets(config)) return region_activation_bytes(config, rows, tokens, bf16);
  // GELU keeps what goes into it and what comes out; x * sigmoid(x) keeps the sigmoid as well.
  const int64_t mlp_kept = config.activation() == ModelConfig::GELU ? 2 : 3;
  const Bytes bytes{bf16 ? kHalf : kFloat, mlp_kept, config.dropout() > 0};
  const int64_t towers = tower_bytes(image_tower(config), rows, config.joint_width(), bytes, images) +
                         tower_bytes(text_tower(config, tokens), rows, config.joint_width(), bytes, texts);
  const int64_t selection = selection_bytes(image_tower(config), rows, config, bytes) +
                            selection_bytes(text_tower(config, tokens), rows, config, bytes);
  return towers + selection + (bf16 ? kHalf * count_multiplied(config) : 0);
}

}  // namespace muster
