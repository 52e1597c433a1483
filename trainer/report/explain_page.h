// The page of muster explain: one file, nothing fetched, no scripts. Texts are taken as hostile.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "trainer/report/explained_pair.h"

namespace muster {

struct ExplainPage {
  std::string title;
  std::vector<std::pair<std::string, std::string>> facts;
  std::vector<ExplainedPair> pairs;  // one at least, scored by the same rule
};

// What the pictures and tables of explained pairs show, for above them.
std::string explain_lead(const ExplainedPair& pair);

std::string render_explain_page(const ExplainPage& page);

}  // namespace muster
