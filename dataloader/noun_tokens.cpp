#include "dataloader/noun_tokens.h"

#include <cstdint>
#include <string>

namespace muster {

std::vector<bool> find_noun_tokens(const Tokenizer& tokenizer, const BrillTagger& tagger) {
  std::vector<bool> nouns(static_cast<size_t>(tokenizer.vocabulary()));
  const Tokenizer::Ordinary ordinary = tokenizer.ordinary();
  for (int64_t id = ordinary.first; id < ordinary.end; ++id) {
    const std::string word = tokenizer.decode(&id, 1);
    if (!word.empty()) nouns[static_cast<size_t>(id)] = is_noun_or_adjective(tagger.tag({word}).front());
  }
  return nouns;
}

}  // namespace muster
