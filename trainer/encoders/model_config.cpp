#include "trainer/encoders/model_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "launch/error.h"
#include "trainer/encoders/token_selection.h"

namespace muster {
namespace {

constexpr int kClipVocabulary = 49408;

struct Sizes {
  int pixels, patch;
  int image_width, image_layers, image_heads;
  int context, text_width, text_layers, text_heads;
  int joint_width;
  ModelConfig::Activation activation;
};

ModelConfig from_sizes(const Sizes& sizes) {
  ModelConfig config;
  VisionConfig& image = *config.mutable_image();
  image.set_width_pixels(sizes.pixels);
  image.set_height_pixels(sizes.pixels);
  image.set_patch(sizes.patch);
  image.set_width(sizes.image_width);
  image.set_layers(sizes.image_layers);
  image.set_heads(sizes.image_heads);
  TextConfig& text = *config.mutable_text();
  text.set_context(sizes.context);
  text.set_vocabulary(kClipVocabulary);
  text.set_width(sizes.text_width);
  text.set_layers(sizes.text_layers);
  text.set_heads(sizes.text_heads);
  config.set_joint_width(sizes.joint_width);
  config.set_activation(sizes.activation);
  return config;
}

// OpenAI's sizes: Radford et al., 2021, table 20. ViT-S/16: open_clip, model_configs/ViT-S-16.json.
ModelConfig preset_sizes(ModelConfig::Preset preset) {
  switch (preset) {
    case ModelConfig::CUSTOM:
      return {};
    case ModelConfig::MINI:
      return from_sizes({64, 8, 192, 6, 3, 32, 192, 6, 3, 128, ModelConfig::GELU});
    case ModelConfig::VIT_B_32:
      return from_sizes({224, 32, 768, 12, 12, 77, 512, 12, 8, 512, ModelConfig::QUICK_GELU});
    case ModelConfig::VIT_B_16:
      return from_sizes({224, 16, 768, 12, 12, 77, 512, 12, 8, 512, ModelConfig::QUICK_GELU});
    case ModelConfig::VIT_S_16:
      return from_sizes({224, 16, 384, 12, 6, 77, 384, 12, 6, 384, ModelConfig::GELU});
    case ModelConfig::VIT_L_14:
      return from_sizes({224, 14, 1024, 24, 16, 77, 768, 12, 12, 768, ModelConfig::QUICK_GELU});
  }
  return {};
}

// Collects what is wrong, so that one error names everything.
class Checks {
 public:
  void size(const std::string& field, bool given, int value, int least, int most) {
    if (!given) {
      problems_.push_back(fmt::format("model.{} is missing (set it, or model.preset)", field));
    } else if (value < least || value > most) {
      problems_.push_back(fmt::format("model.{} is {}, must be in {} .. {}", field, value, least, most));
    }
  }

  // Both fields hold positive numbers, or have been complained about.
  void divides(const std::string& divisor, int by, const std::string& field, int value) {
    if (by > 0 && value > 0 && value % by != 0) {
      problems_.push_back(fmt::format("model.{} ({}) must divide model.{} ({})", divisor, by, field, value));
    }
  }

  void require(bool holds, const std::string& problem) {
    if (!holds) problems_.push_back(problem);
  }

  void raise() const {
    if (!problems_.empty()) throw ConfigError(fmt::format("{}", fmt::join(problems_, "; ")));
  }

 private:
  std::vector<std::string> problems_;
};

constexpr int kMaxPixels = 8192, kMaxWidth = 16384, kMaxLayers = 512, kMaxContext = 65536, kMaxVocabulary = 1 << 24;

void check_image(const VisionConfig& image, Checks& checks) {
  checks.size("image.width_pixels", image.has_width_pixels(), image.width_pixels(), 1, kMaxPixels);
  checks.size("image.height_pixels", image.has_height_pixels(), image.height_pixels(), 1, kMaxPixels);
  checks.size("image.patch", image.has_patch(), image.patch(), 1, kMaxPixels);
  checks.size("image.width", image.has_width(), image.width(), 1, kMaxWidth);
  checks.size("image.layers", image.has_layers(), image.layers(), 1, kMaxLayers);
  checks.size("image.heads", image.has_heads(), image.heads(), 1, kMaxWidth);
  checks.divides("image.patch", image.patch(), "image.width_pixels", image.width_pixels());
  checks.divides("image.patch", image.patch(), "image.height_pixels", image.height_pixels());
  checks.divides("image.heads", image.heads(), "image.width", image.width());
}

void check_text(const TextConfig& text, Checks& checks) {
  checks.size("text.context", text.has_context(), text.context(), 2, kMaxContext);
  checks.size("text.vocabulary", text.has_vocabulary(), text.vocabulary(), 1, kMaxVocabulary);
  checks.size("text.width", text.has_width(), text.width(), 1, kMaxWidth);
  checks.size("text.layers", text.has_layers(), text.layers(), 1, kMaxLayers);
  checks.size("text.heads", text.has_heads(), text.heads(), 1, kMaxWidth);
  checks.divides("text.heads", text.heads(), "text.width", text.width());
}

void check_selection(const ModelConfig& model, Checks& checks) {
  const TokenSelectionConfig& selection = model.token_selection();
  if (!selects_tokens(model)) {
    checks.require(selection.width() == 0, fmt::format("model.token_selection.width is {}, must be 0 (no selection) or "
                                                       "more",
                                                       selection.width()));
    return;
  }
  checks.require(
      selection.width() % 2 == 0 && selection.width() <= kMaxWidth,
      fmt::format("model.token_selection.width is {}, must be even, at most {}", selection.width(), kMaxWidth));
  checks.require(selection.ratio() > 0 && selection.ratio() <= 1,
                 fmt::format("model.token_selection.ratio is {}, must be more than 0, at most 1", selection.ratio()));
  const bool sized = model.image().patch() > 0 && model.image().width_pixels() > 0 && model.text().context() > 0;
  checks.require(!sized || selection.ratio() <= 0 || (selected_patches(model) > 0 && selected_words(model) > 0),
                 fmt::format("model.token_selection.ratio ({}) selects no patch of an image or no word of a caption of "
                             "model.text.context: raise it",
                             selection.ratio()));
}

void check_dropout(const ModelConfig& model, Checks& checks) {
  checks.require(model.dropout() >= 0 && model.dropout() < 1,
                 fmt::format("model.dropout is {}, must be at least 0 and below 1", model.dropout()));
}

void check_region_model(const ModelConfig& config, Checks& checks) {
  const RegionModelConfig& regions = config.regions();
  const auto size = [&](const char* field, int value, int least, int most) {
    checks.size(std::string("regions.") + field, true, value, least, most);
  };
  size("width", regions.width(), 1, kMaxWidth);
  size("layers", regions.layers(), 0, kMaxLayers);
  size("heads", regions.heads(), 1, kMaxWidth);
  size("hidden", regions.hidden(), 1, kMaxWidth);
  size("joint_layers", regions.joint_layers(), 0, kMaxLayers);
  size("joint_heads", regions.joint_heads(), 1, kMaxWidth);
  size("joint_hidden", regions.joint_hidden(), 1, kMaxWidth);
  size("text_hidden", regions.text_hidden(), 0, kMaxWidth);
  size("text_positions", regions.text_positions(), std::max(2, config.text().context()), kMaxContext);
  checks.divides("regions.heads", regions.heads(), "regions.width", regions.width());
  checks.divides("regions.joint_heads", regions.joint_heads(), "joint_width", config.joint_width());
  check_text(config.text(), checks);
  const int least = regions.drop_last_word() ? 4 : 3;
  checks.require(!config.text().has_context() || config.text().context() < 2 || config.text().context() >= least,
                 fmt::format("model.text.context is {}, of which {} are no words: give {} or more",
                             config.text().context(), least - 1, least));
  checks.size("joint_width", config.has_joint_width(), config.joint_width(), 1, kMaxWidth);
  check_dropout(config, checks);
  const std::pair<bool, const char*> others[] = {{config.preset() != ModelConfig::CUSTOM, "preset"},
                                                 {config.image().ByteSizeLong() > 0, "image"},
                                                 {config.has_activation(), "activation"},
                                                 {selects_tokens(config), "token_selection"}};
  for (const auto& [given, field] : others) {
    checks.require(!given, fmt::format("model.{} is of CLIP's towers, which model.regions takes the place of: leave "
                                       "one of the two out",
                                       field));
  }
}

}  // namespace

int64_t pair_width(const ModelConfig& config, const std::string& pair) {
  if (pair == "global" || (pair == kSetPair && has_sets(config))) return config.joint_width();
  return pair == "selected" ? config.token_selection().width() : 0;
}

int64_t embedding_width(const ModelConfig& config) {
  return config.joint_width() + config.token_selection().width();
}

ModelConfig possible_region_model(const ModelConfig& config) {
  ModelConfig possible;
  RegionModelConfig& regions = *possible.mutable_regions();
  regions.set_width(4);
  regions.set_drop_last_word(config.regions().drop_last_word());
  TextConfig& text = *possible.mutable_text();
  text.set_context(8);
  text.set_vocabulary(8);
  text.set_width(4);
  text.set_layers(1);
  text.set_heads(1);
  possible.set_joint_width(4);
  return possible;
}

ModelConfig resolve_model(const ModelConfig& config) {
  Checks checks;
  if (has_sets(config)) {
    check_region_model(config, checks);
    checks.raise();
    return config;
  }
  ModelConfig resolved = preset_sizes(config.preset());
  resolved.MergeFrom(config);
  checks.require(config.regions().width() == 0,
                 fmt::format("model.regions.width is {}, must be 0 (no regions) or more", config.regions().width()));
  check_image(resolved.image(), checks);
  check_text(resolved.text(), checks);
  checks.size("joint_width", resolved.has_joint_width(), resolved.joint_width(), 1, kMaxWidth);
  checks.require(resolved.has_activation(), "model.activation is missing: GELU or QUICK_GELU (or set model.preset)");
  check_selection(resolved, checks);
  check_dropout(resolved, checks);
  checks.raise();
  return resolved;
}

}  // namespace muster
