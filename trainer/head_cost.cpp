#include "trainer/head_cost.h"

#include <algorithm>
#include <string>

#include "trainer/heads/image_restoration.h"

namespace muster {
namespace {

constexpr int64_t kFloat = 4;

double to_double(int64_t value) {
  return static_cast<double>(value);
}

int64_t find_count(const StepJob& job, const std::string& name) {
  for (const ParameterSize& parameter : job.head_parameters) {
    if (parameter.name == name) return parameter.count;
  }
  return 0;
}

// Words that heads.masked_words chooses among: one bias each.
int64_t word_outputs(const StepJob& job) {
  return find_count(job, "heads.masked_words.bias");
}

bool masks_words(const StepJob& job) {
  return job.settings.heads.masked_words().weight() > 0;
}

bool restores_images(const StepJob& job) {
  return job.settings.heads.image_restoration().weight() > 0;
}

// Tokens of a caption that heads.masked_words works on.
int64_t masked_caption_tokens(const StepJob& job) {
  return job.settings.heads.masked_words().attend_padding() ? job.settings.model.text().context() : job.caption_tokens;
}

// The pass of the text tower for masked captions.
double masked_text_forward(const StepJob& job) {
  return text_flop(job.settings.model, masked_caption_tokens(job), TowerTokens::kAll).forward;
}

// Of the masked words, behind all blocks.
double word_logits_flop(const StepJob& job) {
  const ModelConfig& model = job.settings.model;
  const bool tied = job.settings.heads.masked_words().output() == MaskedWordsConfig::TIED;
  const double w = model.joint_width(), hidden = tied ? model.text().width() : w;
  return 2 * hidden * (w + to_double(word_outputs(job))) * job.masked_words;
}

// What is made of all tokens of a caption, whose words are n, and the image's.
double words_of_image_forward(const StepJob& job) {
  const ModelConfig& model = job.settings.model;
  const double w = model.joint_width(), tokens = to_double(masked_caption_tokens(job)), words = job.masked_words;
  const double patches = to_double(1 + count_patches(model));
  const double blocks = job.settings.heads.masked_words().blocks();
  const double cross = 4 * w * w * tokens + 4 * w * w * patches + 4 * w * tokens * patches;
  const double attention = 6 * w * w * tokens + 4 * w * tokens * tokens, rest = 18 * w * w;
  return masked_text_forward(job) + cross + blocks * (attention + rest * tokens) - rest * (tokens - words) +
         word_logits_flop(job);
}

// The same with its reference, of K tokens.
double words_of_reference_forward(const StepJob& job) {
  const MaskedWordsConfig& config = job.settings.heads.masked_words();
  const ModelConfig& model = job.settings.model;
  const double w = model.joint_width(), tokens = to_double(job.caption_tokens), words = job.masked_words;
  const double references = config.reference_tokens(), full = config.blocks() - 1;
  // Attention of q words to the references of k samples.
  const auto attend = [&](double q, double k) {
    return references > 1 ? 4 * w * w * q + 4 * w * w * references * k + 4 * w * q * references : 4 * w * w * k;
  };
  const double widened = references > 1 ? 2 * w * w * references : 0;
  const double scores = 4 * w * tokens * tokens;
  const double whole_block = 24 * w * w * tokens + scores + attend(tokens, 1) + 16 * w * w * tokens;
  const double last_block = 6 * w * w * tokens + scores + (18 * w * w + 16 * w * w) * words + attend(words, words);
  return masked_text_forward(job) + widened + full * whole_block + last_block + word_logits_flop(job);
}

double masked_words_flop(const StepJob& job) {
  const MaskedWordsConfig& config = job.settings.heads.masked_words();
  const bool image = config.context() == MaskedWordsConfig::IMAGE;
  const double forward = image ? words_of_image_forward(job) : words_of_reference_forward(job);
  return 3 * forward - (config.detach_text() ? 2 * masked_text_forward(job) : 0);
}

// Of the identity classifier.
int64_t class_count(const StepJob& job) {
  return find_count(job, "heads.identity_classifier.bias");
}

double restoration_flop(const StepJob& job) {
  const ImageRestorationConfig& config = job.settings.heads.image_restoration();
  const ModelConfig& model = job.settings.model;
  const RestoredPatches patches = restored_patches(config, model);
  const TowerFlop image = image_tokens_flop(model, patches.seen);
  const double w = model.joint_width(), seen = to_double(1 + patches.seen), scored = to_double(patches.scored);
  const double tokens = to_double(1 + count_patches(model)), words = to_double(carried_text_tokens(job));
  const double numbers = 3.0 * model.image().patch() * model.image().patch();
  const double cross = 4 * w * w * tokens + 4 * w * w * words + 4 * w * tokens * words;
  const double attention = 6 * w * w * tokens + 4 * w * tokens * tokens, rest = 18 * w * w;
  const double blocks = config.blocks() * (attention + rest * tokens) - rest * (tokens - scored);
  const double decoder = 2 * w * w * seen + cross + blocks + 2 * w * numbers * scored;
  return image.forward + image.backward + 3 * decoder;
}

// Another pass of the text tower, blocks on all tokens and logits of the masked words.
int64_t masked_words_numbers(const StepJob& job, int64_t rows) {
  const ModelConfig& model = job.settings.model;
  const MaskedWordsConfig& config = job.settings.heads.masked_words();
  const int64_t tokens = rows * masked_caption_tokens(job), width = model.joint_width();
  const int64_t block_numbers = 5 + 2 + 4 * (model.activation() == ModelConfig::GELU ? 2 : 3);
  const int64_t text = tokens * model.text().width() * block_numbers * model.text().layers();
  const double words = to_double(rows) * job.masked_words;
  const auto logits = static_cast<int64_t>(words * to_double(2 * word_outputs(job)));
  if (config.context() == MaskedWordsConfig::IMAGE) {
    const int64_t cross = width * (6 * tokens + 4 * rows * (1 + count_patches(model)));
    const int64_t blocks = width * ((5 + 2 + 12) * tokens * (config.blocks() - 1) + 6 * tokens);
    return text + cross + blocks + static_cast<int64_t>(15 * words) * width + logits;
  }
  const int64_t blocks = tokens * width * (2 + (7 + 2 * 9) * (config.blocks() - 1) + 6);
  return text + blocks + logits;
}

// Another pass of the image tower, on the patches that are seen; the image in grey and cut into patches; blocks on all.
int64_t restoration_numbers(const StepJob& job, int64_t rows) {
  const ModelConfig& model = job.settings.model;
  const ImageRestorationConfig& config = job.settings.heads.image_restoration();
  const RestoredPatches patches = restored_patches(config, model);
  const int64_t all = 1 + count_patches(model), width = model.joint_width();
  const int64_t block_numbers = 5 + 2 + 4 * (model.activation() == ModelConfig::GELU ? 2 : 3);
  const int64_t image = model.image().width() * ((1 + patches.seen) * (block_numbers * model.image().layers() + 3));
  const int64_t pixels = int64_t{3} * model.image().patch() * model.image().patch() * (all - 1 + 2 * patches.scored);
  const int64_t cross = width * (6 * all + 4 * carried_text_tokens(job));
  const int64_t blocks = width * ((5 + 2 + 12) * all * (config.blocks() - 1) + 6 * all + 15 * patches.scored);
  return rows * (image + pixels + cross + blocks);
}

}  // namespace

double expected_masked_words(const MaskedWordsConfig& config, int64_t caption_tokens) {
  return std::max(1.0, config.mask_tokens() * to_double(caption_tokens - 2));
}

int64_t carried_text_tokens(const StepJob& job) {
  if (!restores_images(job)) return 0;
  const bool padding = job.settings.heads.image_restoration().attend_padding();
  return padding ? job.settings.model.text().context() : job.caption_tokens;
}

bool carries_image_tokens(const StepJob& job) {
  return masks_words(job) && job.settings.heads.masked_words().context() == MaskedWordsConfig::IMAGE;
}

double heads_flop(const StepJob& job) {
  const double classes = 12 * to_double(job.settings.model.joint_width()) * to_double(class_count(job));
  return (masks_words(job) ? masked_words_flop(job) : 0) + (restores_images(job) ? restoration_flop(job) : 0) + classes;
}

int64_t head_bytes(const StepJob& job, int64_t rows) {
  const int64_t classes = class_count(job) == 0 ? 0 : 2 * rows * (job.settings.model.joint_width() + class_count(job));
  return kFloat * ((masks_words(job) ? masked_words_numbers(job, rows) : 0) +
                   (restores_images(job) ? restoration_numbers(job, rows) : 0) + classes);
}

}  // namespace muster
