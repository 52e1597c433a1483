// Explained pairs as a part of a page: the picture with the boxes of the regions that the words find, a colour a word,
// and beneath it each word's best regions. Inline SVG, no scripts; every text is taken as hostile.
#pragma once

#include <string>
#include <vector>

#include "trainer/report/explained_pair.h"

namespace muster {

// An article a pair. Pictures are scaled to the pairs' width x height, whatever their own size is, and stand in the
// page once where pairs share one. Element names begin with "explained-", so that a page has one such part.
std::string render_explained(const std::vector<ExplainedPair>& pairs);

// What such a page has beside the report's style.
extern const char* const kExplainStyle;

}  // namespace muster
