#include "dataloader/caption_pruner.h"

#include <vector>

#include "dataloader/data_files.h"
#include "dataloader/text/penn_words.h"

namespace muster {
namespace {

bool is_kept(std::string_view tag) {
  return tag.substr(0, 2) == "NN" || tag.substr(0, 2) == "JJ" || tag.substr(0, 3) == "PRP";
}

}  // namespace

CaptionPruner::CaptionPruner(const std::string& folder)
    : tagger_(folder.empty() ? default_data_file("tagger") : folder) {}

std::string CaptionPruner::prune(std::string_view caption) const {
  std::string kept;
  for (const std::vector<std::string>& words : penn_words(caption)) {
    const std::vector<std::string_view> tags = tagger_.tag(words);
    for (size_t i = 0; i < words.size(); ++i) {
      if (!is_kept(tags[i])) continue;
      if (!kept.empty()) kept += ' ';
      kept += words[i];
    }
  }
  return kept.empty() ? std::string(caption) : kept;
}

}  // namespace muster
