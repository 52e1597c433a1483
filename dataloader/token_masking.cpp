#include "dataloader/token_masking.h"

#include <algorithm>
#include <stdexcept>

namespace muster {

void mask_tokens(const TokenMasking& masking, const Tokenizer::Ordinary& ordinary, KeyedRandom random, int64_t* ids,
                 int64_t context, bool* hits) {
  if (hits != nullptr && masking.delete_share > 0) throw std::logic_error("mask_tokens: hits of deleted tokens");
  const auto is_ordinary = [&](int64_t id) { return id >= ordinary.first && id < ordinary.end; };
  int64_t* first = std::find_if(ids, ids + context, is_ordinary);
  bool any_hit = false;
  int64_t* out = ids;
  for (int64_t* id = ids; id != ids + context; ++id) {
    const int64_t token = *id;
    *out++ = token;
    const auto is_noun = [&] { return masking.nouns != nullptr && (*masking.nouns)[static_cast<size_t>(token)]; };
    const bool hit = is_ordinary(token) && random.next_double() < (is_noun() ? masking.noun_hit : masking.hit);
    if (hits != nullptr) hits[id - ids] = hit;
    if (!hit) continue;
    any_hit = true;
    const double fate = random.next_double();
    const auto other = static_cast<int64_t>(random.next_below(static_cast<uint64_t>(ordinary.end - ordinary.first)));
    if (fate < masking.mask_share) {
      out[-1] = ordinary.mask;
    } else if (fate < masking.mask_share + masking.random_share) {
      out[-1] = ordinary.first + other;
    } else if (fate < masking.mask_share + masking.random_share + masking.delete_share) {
      --out;
    }
  }
  std::fill(out, ids + context, 0);
  if (any_hit || !masking.at_least_one || first == ids + context) return;
  if (hits != nullptr) hits[first - ids] = true;
  *first = ordinary.mask;
}

}  // namespace muster
