// report.html: a run on one page that can be mailed. One file, nothing fetched, no scripts: curves are inline SVG,
// images are data URIs, and the page's own policy forbids everything else. Captions, identities and the config are
// taken as hostile text: escaped, and invalid UTF-8 replaced.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "trainer/report/explained_pair.h"
#include "trainer/retrieval/metrics.h"

namespace muster {

// An image among the hits of a caption.
struct ReportHit {
  std::vector<uint8_t> image;  // JPEG or PNG bytes, shown as they are; anything else leaves an empty frame
  std::string identity;
  double score = 0;
  bool right = false;  // of the query's identity
};

struct ReportQuery {
  std::string caption;
  std::string identity;
  std::vector<ReportHit> hits;      // best first
  int64_t rank_of_first_right = 0;  // from 1; 0: none was found
};

// A caption among the hits of an image.
struct ReportCaptionHit {
  std::string caption;
  std::string identity;
  double score = 0;
  bool right = false;
};

struct ReportImageQuery {
  std::vector<uint8_t> image;
  std::string identity;
  std::vector<ReportCaptionHit> hits;
  int64_t rank_of_first_right = 0;
};

// What heads.image_restoration makes of an image with the words of a caption. JPEG or PNG bytes each.
struct ReportRestoration {
  std::string caption;
  std::string identity;
  std::vector<uint8_t> seen;
  std::vector<uint8_t> restored;
  std::vector<uint8_t> image;
};

struct ReportData {
  std::string title;
  std::vector<std::pair<std::string, std::string>> facts;  // shown under the title: ("split", "test"), ("step", "300")
  std::string split;                                       // of the table and the queries
  RetrievalMetrics text_to_image;
  RetrievalMetrics image_to_text;
  double chance_r1 = 0;  // percent, text to image, of a random ranking; 0: not shown
  std::vector<ReportQuery> queries;
  std::vector<ReportImageQuery> image_queries;
  // Of the queries' lists, where the table's figures are of other scores: "by the cosine of ..."; without any query it
  // says that there is no list.
  std::string ranking_note;
  std::vector<ReportRestoration> restorations;
  std::vector<ExplainedPair> explained;  // scored by the same rule
  std::string config;                    // resolved, text format
  std::string run_dir;                   // its metrics.jsonl gives the curves; empty: no curves
};

// Whole or absent. DataError: the file cannot be written, metrics.jsonl cannot be read.
void write_report(const std::string& path, const ReportData& data);

}  // namespace muster
