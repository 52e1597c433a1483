#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "dataloader/dataloader.pb.h"
#include "dataloader/text/brill_tagger.h"
#include "dataloader/tokenizer.h"

namespace muster {

// Whether it takes a tagger: where it prunes, or masks nouns at a rate of their own.
bool needs_tagger(const TextTransformConfig& config);

// What training does to captions: SEN's pruning, word deletion (EDA, Wei and Zou, 2019, arXiv:1901.11196, as TBPS-CLIP
// uses it), then BERT's token masking as in IRRA (datasets/bases.py) and SEN, which hits nouns and adjectives more
// often, with RDE's deletion of tokens. Immutable: any number of threads. The tokenizer must outlive it.
class TextTransform {
 public:
  // DataError: needs_tagger(), and its files cannot be read.
  TextTransform(const TextTransformConfig& config, const Tokenizer& tokenizer);

  // Tokenizer::encode() of the changed caption. The choices are a function of (seed, position) only. DataError as
  // there.
  void encode(std::string_view caption, uint64_t seed, uint64_t position, int64_t* ids, int64_t context) const;

  // With probability `prune` what prune_caption() leaves of it.
  std::string prune(std::string_view caption, uint64_t seed, uint64_t position) const;

  // Each word, cut at ASCII white space, goes with probability delete_words, but one stays, a random one if all would
  // go. The others are joined by single spaces.
  std::string delete_words(std::string_view caption, uint64_t seed, uint64_t position) const;

  // mask_tokens() (token_masking.h) as the config has it.
  void mask(uint64_t seed, uint64_t position, int64_t* ids, int64_t context) const;

 private:
  TextTransformConfig config_;
  const Tokenizer& tokenizer_;
  std::unique_ptr<const BrillTagger> tagger_;  // null: no need of one
  std::vector<bool> nouns_;                    // empty: they are masked as all others
};

}  // namespace muster
