#include "dataloader/caption_pruner.h"

#include <vector>

#include "dataloader/text/penn_words.h"

namespace muster {

std::string prune_caption(std::string_view caption, const BrillTagger& tagger) {
  std::string kept;
  for (const std::vector<std::string>& words : penn_words(caption)) {
    const std::vector<std::string_view> tags = tagger.tag(words);
    for (size_t i = 0; i < words.size(); ++i) {
      if (!is_noun_or_adjective(tags[i]) && tags[i].substr(0, 3) != "PRP") continue;
      if (!kept.empty()) kept += ' ';
      kept += words[i];
    }
  }
  return kept.empty() ? std::string(caption) : kept;
}

}  // namespace muster
