// BERT's masking of tokens (Devlin et al., 2019, section 3.1), as IRRA (datasets/bases.py) and SEN do it on CLIP's
// tokens, with RDE's deletion.
#pragma once

#include <cstdint>
#include <vector>

#include "dataloader/random.h"
#include "dataloader/tokenizer.h"

namespace muster {

struct TokenMasking {
  double hit = 0;  // probability of each ordinary token (Tokenizer::ordinary())
  // What becomes of a token that is hit: the mask, a random ordinary token, nothing (the following move up); else it
  // stays.
  double mask_share = 0.8;
  double random_share = 0.1;
  double delete_share = 0;
  bool at_least_one = false;  // where none is hit, the first becomes the mask
  // Tokens that are true in `nouns` [vocabulary] are hit with this probability instead; null: none are.
  double noun_hit = 0;
  const std::vector<bool>* nouns = nullptr;
};

// Changes ids [context] in place; zeros fill up what deletion frees. hits [context] may be null: true where the token
// was hit, whatever became of it; with it nothing may be deleted (std::logic_error).
void mask_tokens(const TokenMasking& masking, const Tokenizer::Ordinary& ordinary, KeyedRandom random, int64_t* ids,
                 int64_t context, bool* hits = nullptr);

}  // namespace muster
