// The figures of a retrieval table.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

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
  // Of the best-ranked positive's rank, from 1; the median rounded down, as the field has it.
  double median_rank = 0;
  double mean_rank = 0;
};

// The mean of each figure over consecutive parts of a split; numbers of queries are added up, of gallery items the
// first's. At least one.
RetrievalMetrics mean_of(const std::vector<RetrievalMetrics>& parts);

// Aligned plain text of both directions, as the field prints it; every line ends with a newline.
std::string format_retrieval_table(const RetrievalMetrics& text_to_image, const RetrievalMetrics& image_to_text);

// What the field of image-caption retrieval prints beside the recalls: median and mean rank, and the sum of both
// directions' recalls (rsum). One line.
std::string format_caption_figures(const RetrievalMetrics& text_to_image, const RetrievalMetrics& image_to_text);

// The same where the texts are classes' (identity_means()): with AP@50 of the first direction.
std::string format_class_table(const RetrievalMetrics& class_to_image, const RetrievalMetrics& image_to_class);

}  // namespace muster
