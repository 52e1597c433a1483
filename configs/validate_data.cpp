#include "configs/validate_data.h"

#include <algorithm>

#include "trainer/encoders/model_config.h"

namespace muster {
namespace {

constexpr const char* kProbability = "0 to 1";

void check_probability(const std::string& field, double value, Checks& checks) {
  checks.require(value >= 0 && value <= 1, field, value, kProbability);
}

// A range of areas and one of aspects, as in torchvision's random boxes.
template <typename Config>
void check_boxes(const Config& config, const std::string& path, Checks& checks) {
  check_probability(path + ".probability", config.probability(), checks);
  checks.require(config.max_area() > 0 && config.max_area() <= 1, path + ".max_area", config.max_area(),
                 "more than 0, at most 1");
  checks.require(config.min_area() > 0 && !(config.min_area() > config.max_area()), path + ".min_area",
                 config.min_area(), "more than 0, at most max_area");
  checks.positive(path + ".max_aspect", config.max_aspect());
  checks.require(config.min_aspect() > 0 && !(config.min_aspect() > config.max_aspect()), path + ".min_aspect",
                 config.min_aspect(), "more than 0, at most max_aspect");
}

void check_color(const ImageTransformConfig& image, Checks& checks) {
  const ColorJitterConfig& jitter = image.color_jitter();
  check_probability("data.image.color_jitter.probability", jitter.probability(), checks);
  checks.at_least(0.0, "data.image.color_jitter.brightness", jitter.brightness());
  checks.at_least(0.0, "data.image.color_jitter.contrast", jitter.contrast());
  checks.at_least(0.0, "data.image.color_jitter.saturation", jitter.saturation());
  checks.require(jitter.hue() >= 0 && jitter.hue() <= 0.5, "data.image.color_jitter.hue", jitter.hue(), "0 to 0.5");
  check_probability("data.image.grey", image.grey(), checks);
}

void check_erasing(const ErasingConfig& erasing, Checks& checks) {
  check_boxes(erasing, "data.image.erasing", checks);
  if (erasing.value_size() != 0 && erasing.value_size() != 3) {
    checks.add(fmt::format("data.image.erasing.value has {} values: give one for each of red, green and blue, or none",
                           erasing.value_size()));
  }
  for (const float value : erasing.value()) {
    checks.require(std::isfinite(value), "data.image.erasing.value", value, "finite values");
  }
  if (erasing.noise() && erasing.value_size() != 0) {
    checks.add("data.image.erasing.value and noise are both given: keep one of the two");
  }
}

void check_image(const ImageTransformConfig& image, const VisionConfig& size, Checks& checks) {
  checks.at_least(0, "data.image.pad_crop", image.pad_crop());
  const int smaller_side = std::min(size.width_pixels(), size.height_pixels());
  if (smaller_side > 0 && image.pad_crop() >= smaller_side) {
    checks.add(
        fmt::format("data.image.pad_crop is {}: a crop could miss the image; give less than its smaller side, {}",
                    image.pad_crop(), smaller_side));
  }
  if (image.mean_size() != 3 || image.std_size() != 3) {
    checks.add(fmt::format("data.image.mean and std have {} and {} values: give three of each, or none of either",
                           image.mean_size(), image.std_size()));
  }
  for (const float mean : image.mean()) {
    checks.require(std::isfinite(mean), "data.image.mean", mean, "finite values, of pixels in [0, 1]");
  }
  for (const float deviation : image.std()) checks.positive("data.image.std", deviation);
  check_boxes(image.resized_crop(), "data.image.resized_crop", checks);
  check_color(image, checks);
  check_erasing(image.erasing(), checks);
}

void check_text(const TextTransformConfig& text, Checks& checks) {
  check_probability("data.text.prune", text.prune(), checks);
  check_probability("data.text.delete_words", text.delete_words(), checks);
  check_probability("data.text.mask_tokens", text.mask_tokens(), checks);
  check_probability("data.text.mask_nouns", text.mask_nouns(), checks);
  check_probability("data.text.mask_share", text.mask_share(), checks);
  check_probability("data.text.random_share", text.random_share(), checks);
  check_probability("data.text.delete_share", text.delete_share(), checks);
  const double sum = text.mask_share() + text.random_share() + text.delete_share();
  if (sum > 1 + 1e-9) {
    checks.add(fmt::format("data.text.mask_share, random_share and delete_share are {} together: give at most 1", sum));
  }
}

void check_sampler(const SamplerConfig& sampler, int64_t global_batch, Checks& checks) {
  if (sampler.has_identity()) {
    const int64_t identities = sampler.identity().identities(), samples = sampler.identity().samples();
    checks.at_least<int64_t>(0, "data.sampler.identity.identities", identities,
                             "0: train.global_batch / data.sampler.identity.samples");
    checks.at_least<int64_t>(1, "data.sampler.identity.samples", samples);
    if (identities > 0 && samples > 0 && (global_batch % samples != 0 || global_batch / samples != identities)) {
      checks.add(
          fmt::format("data.sampler.identity has {} identities x {} samples, but train.global_batch is {}: make "
                      "them equal",
                      identities, samples, global_batch));
    } else if (identities == 0 && samples > 0 && global_batch % samples != 0) {
      checks.add(fmt::format("data.sampler.identity.samples is {}: give a divisor of train.global_batch, {}", samples,
                             global_batch));
    }
  }
  if (sampler.has_sen()) {
    const int64_t samples = sampler.sen().samples();
    checks.require(samples > 0 && global_batch % samples == 0, "data.sampler.sen.samples", samples,
                   fmt::format("a divisor of train.global_batch, {}", global_batch));
  }
}

void check_splits(const RunConfig& config, Checks& checks) {
  const auto& splits = config.data().train_splits();
  const auto times = [&](int split) { return std::count(splits.begin(), splits.end(), split); };
  if (times(DataConfig::TRAIN) > 1 || times(DataConfig::VAL) > 1) {
    checks.add("data.train_splits names a split twice: keep one");
  }
  if (times(DataConfig::VAL) > 0 && config.train().evaluation().every() > 0) {
    checks.add(fmt::format(
        "train.evaluation.every is {}, but data.train_splits has VAL: what is trained on says nothing about "
        "the best checkpoint; give every: 0 or leave VAL out",
        config.train().evaluation().every()));
  }
}

void check_tokenizer(const RunConfig& config, Checks& checks) {
  const TokenizerConfig& tokenizer = config.data().tokenizer();
  const bool pieces = tokenizer.kind() == TokenizerConfig::WORDPIECE;
  if (pieces && tokenizer.has_merges()) checks.add("data.tokenizer.merges are CLIP's: leave them out of WORDPIECE");
  if (!pieces && tokenizer.has_vocabulary()) {
    checks.add("data.tokenizer.vocabulary is WORDPIECE's: give kind: WORDPIECE, or leave it out");
  }
  if (pieces && !has_sets(config.model())) {
    checks.add(
        "data.tokenizer.kind WORDPIECE goes with model.regions, whose text encoder is BERT: CLIP's takes CLIP's "
        "tokens");
  }
}

}  // namespace

void check_data(const RunConfig& config, Checks& checks) {
  const DataConfig& data = config.data();
  checks.at_least(1, "data.workers", data.workers());
  checks.at_least(1, "data.prefetch", data.prefetch());
  check_image(data.image(), config.model().image(), checks);
  check_tokenizer(config, checks);
  check_text(data.text(), checks);
  check_sampler(data.sampler(), config.train().global_batch(), checks);
  check_splits(config, checks);
}

}  // namespace muster
