// What a search found, as a page: of muster search --html (one file, nothing fetched) and of muster serve. No scripts.
// Words, names and paths are taken as hostile text: escaped, and invalid UTF-8 replaced.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace muster {

struct PageHit {
  std::string picture;  // address of the image: a data URI, or a path of the server; empty: an empty frame
  std::string path;     // in the imported set
  std::string identity;
  double score = 0;
  int64_t plain_rank = 0;  // of a refined hit, from 1; 0: not among the plain ones shown
};

struct PageQuery {
  std::string words;
  std::vector<PageHit> plain;  // best first
  std::vector<PageHit> refined;
};

struct SearchPage {
  std::string title;
  std::vector<std::pair<std::string, std::string>> facts;
  std::string refinement;  // what refines; empty: hits are plain only
  std::vector<PageQuery> queries;
  // Of a server's page.
  bool is_served = false;  // with a search box, and the style sheet from /style.css instead of in the page
  std::string typed;       // what stands in the box
  std::string complaint;   // why there are no hits
};

// The policy of a page that is served, for its header; a page that is a file carries its own.
extern const char* const kServedPolicy;

std::string render_search_page(const SearchPage& page);

// The style sheet of such pages.
std::string search_style();

}  // namespace muster
