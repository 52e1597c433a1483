// Which tokens of a vocabulary are nouns or adjectives: what SEN's public code (commit 3d887c1) masks more often than
// other words. It tags each piece of each caption anew; a piece's tag does not depend on the caption, so here each is
// tagged once. It cuts four characters off every piece, as if all ended with "</w>"; here a piece is what it is.
#pragma once

#include <vector>

#include "dataloader/text/brill_tagger.h"
#include "dataloader/tokenizer.h"

namespace muster {

// [vocabulary] true for the ordinary tokens whose text, as a sentence of one word, is tagged NN* or JJ*. Unknown words
// are nouns to the tagger, so most parts of words are.
std::vector<bool> find_noun_tokens(const Tokenizer& tokenizer, const BrillTagger& tagger);

}  // namespace muster
