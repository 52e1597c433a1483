// A caption without the words that say nothing of what is seen: the text augmentation of SEN (Semantic-Enhanced
// Network, Neural Networks 184, 2025).
#pragma once

#include <string>
#include <string_view>

#include "dataloader/text/brill_tagger.h"

namespace muster {

// The nouns, adjectives and personal and possessive pronouns (NN*, JJ*, PRP*), joined by spaces; the whole caption if
// there is none.
std::string prune_caption(std::string_view caption, const BrillTagger& tagger);

}  // namespace muster
