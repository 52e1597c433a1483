// The figures of a retrieval table.
#pragma once

#include <cstdint>
#include <string>

namespace muster {

// Percent, meaned over the queries that have a positive in the gallery. A positive is a gallery item of the query's
// identity. Definitions as `rank()` in IRRA's evaluator (github.com/anosorae/IRRA, utils/metrics.py).
struct RetrievalMetrics {
  double r1 = 0;  // the best-ranked positive is among the first 1, 5, 10
  double r5 = 0;
  double r10 = 0;
  double map = 0;       // mean over a query's positives of (positives up to it) / (its rank)
  double minp = 0;      // (number of positives) / (rank of the worst-ranked positive)
  int64_t queries = 0;  // that have a positive, over all ranks
  int64_t gallery = 0;  // items, over all ranks
  int64_t skipped = 0;  // queries left out, having no positive in the gallery
  // Share of positives among the 50 best items (among all, where there are fewer): what Reed et al. (2016) call AP@50.
  double ap50 = 0;
};

// Aligned plain text of both directions, as the field prints it; every line ends with a newline.
std::string format_retrieval_table(const RetrievalMetrics& text_to_image, const RetrievalMetrics& image_to_text);

// The same where the texts are classes' (identity_means()): with AP@50 of the first direction.
std::string format_class_table(const RetrievalMetrics& class_to_image, const RetrievalMetrics& image_to_class);

}  // namespace muster
