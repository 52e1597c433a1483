#include "dataloader/text_transform.h"

#include <algorithm>
#include <vector>

#include "dataloader/caption_pruner.h"
#include "dataloader/data_files.h"
#include "dataloader/noun_tokens.h"
#include "dataloader/random.h"
#include "dataloader/token_masking.h"

namespace muster {
namespace {

constexpr std::string_view kWhiteSpace = " \t\n\v\f\r";

std::vector<std::string_view> cut_words(std::string_view caption) {
  std::vector<std::string_view> words;
  for (size_t begin = caption.find_first_not_of(kWhiteSpace); begin != std::string_view::npos;) {
    const size_t end = std::min(caption.find_first_of(kWhiteSpace, begin), caption.size());
    words.push_back(caption.substr(begin, end - begin));
    begin = caption.find_first_not_of(kWhiteSpace, end);
  }
  return words;
}

}  // namespace

bool needs_tagger(const TextTransformConfig& config) {
  return config.prune() > 0 || config.mask_nouns() > 0;
}

TextTransform::TextTransform(const TextTransformConfig& config, const Tokenizer& tokenizer)
    : config_(config), tokenizer_(tokenizer) {
  if (!needs_tagger(config)) return;
  tagger_ = std::make_unique<BrillTagger>(config.tagger().empty() ? default_data_file("tagger") : config.tagger());
  if (config.mask_nouns() > 0) nouns_ = find_noun_tokens(tokenizer, *tagger_);
}

void TextTransform::encode(std::string_view caption, uint64_t seed, uint64_t position, int64_t* ids,
                           int64_t context) const {
  std::string changed;
  if (config_.prune() > 0) caption = changed = prune(caption, seed, position);
  if (config_.delete_words() > 0) caption = changed = delete_words(caption, seed, position);
  tokenizer_.encode(caption, ids, context);
  if (config_.mask_tokens() > 0 || config_.mask_nouns() > 0 || config_.mask_one()) mask(seed, position, ids, context);
}

std::string TextTransform::prune(std::string_view caption, uint64_t seed, uint64_t position) const {
  KeyedRandom random(seed, position, Purpose::kPruning);
  return random.next_double() < config_.prune() ? prune_caption(caption, *tagger_) : std::string(caption);
}

std::string TextTransform::delete_words(std::string_view caption, uint64_t seed, uint64_t position) const {
  const std::vector<std::string_view> words = cut_words(caption);
  if (words.size() < 2) return std::string(caption);
  KeyedRandom random(seed, position, Purpose::kWordDeletion);
  std::string kept;
  for (const std::string_view word : words) {
    if (random.next_double() < config_.delete_words()) continue;
    if (!kept.empty()) kept += ' ';
    kept += word;
  }
  return kept.empty() ? std::string(words[random.next_below(words.size())]) : kept;
}

void TextTransform::mask(uint64_t seed, uint64_t position, int64_t* ids, int64_t context) const {
  const TokenMasking masking = {config_.mask_tokens(),
                                config_.mask_share(),
                                config_.random_share(),
                                config_.delete_share(),
                                config_.mask_one(),
                                config_.mask_nouns(),
                                nouns_.empty() ? nullptr : &nouns_};
  mask_tokens(masking, tokenizer_.ordinary(), KeyedRandom(seed, position, Purpose::kTokenMask), ids, context);
}

}  // namespace muster
