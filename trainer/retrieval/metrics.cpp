#include "trainer/retrieval/metrics.h"

#include <fmt/format.h>

#include <algorithm>

namespace muster {
namespace {

// `more`: further figures.
std::string table_row(const char* direction, const RetrievalMetrics& metrics, const std::string& more = "") {
  return fmt::format("{:<13}  {:>6.2f}  {:>6.2f}  {:>6.2f}  {:>6.2f}  {:>6.2f}{}  {:>8}  {:>8}\n", direction,
                     metrics.r1, metrics.r5, metrics.r10, metrics.map, metrics.minp, more, metrics.queries,
                     metrics.gallery);
}

std::string table_head(const std::string& more = "") {
  return fmt::format("{:<13}  {:>6}  {:>6}  {:>6}  {:>6}  {:>6}{}  {:>8}  {:>8}\n", "%", "R@1", "R@5", "R@10", "mAP",
                     "mINP", more, "queries", "gallery");
}

}  // namespace

std::string format_retrieval_table(const RetrievalMetrics& text_to_image, const RetrievalMetrics& image_to_text) {
  std::string table = table_head();
  table += table_row("text to image", text_to_image);
  table += table_row("image to text", image_to_text);
  const int64_t skipped = text_to_image.skipped + image_to_text.skipped;
  if (skipped > 0) {
    table += fmt::format("left out, having no positive in the gallery: {} captions, {} images\n", text_to_image.skipped,
                         image_to_text.skipped);
  }
  return table;
}

RetrievalMetrics mean_of(const std::vector<RetrievalMetrics>& parts) {
  RetrievalMetrics mean;
  mean.gallery = parts.at(0).gallery;
  for (const RetrievalMetrics& part : parts) {
    mean.queries += part.queries;
    mean.skipped += part.skipped;
  }
  for (const auto figure : {&RetrievalMetrics::r1, &RetrievalMetrics::r5, &RetrievalMetrics::r10,
                            &RetrievalMetrics::map, &RetrievalMetrics::minp, &RetrievalMetrics::ap50,
                            &RetrievalMetrics::median_rank, &RetrievalMetrics::mean_rank}) {
    for (const RetrievalMetrics& part : parts) mean.*figure += part.*figure / static_cast<double>(parts.size());
  }
  return mean;
}

std::string format_caption_figures(const RetrievalMetrics& text_to_image, const RetrievalMetrics& image_to_text) {
  const auto sum = [](const RetrievalMetrics& metrics) { return metrics.r1 + metrics.r5 + metrics.r10; };
  const auto ranks = [](const RetrievalMetrics& metrics) {
    return fmt::format("medR {:.1f} meanR {:.2f}", metrics.median_rank, metrics.mean_rank);
  };
  return fmt::format("text to image {}, image to text {}; rsum {:.2f}\n", ranks(text_to_image), ranks(image_to_text),
                     sum(text_to_image) + sum(image_to_text));
}

std::string format_class_table(const RetrievalMetrics& class_to_image, const RetrievalMetrics& image_to_class) {
  std::string table = table_head("   AP@50");
  table += table_row("text to image", class_to_image, fmt::format("  {:>6.2f}", class_to_image.ap50));
  table += table_row("image to text", image_to_class, "       -");
  if (class_to_image.gallery < 50) {
    table += fmt::format("AP@50 is over all {} images, there being fewer than 50\n", class_to_image.gallery);
  }
  if (class_to_image.skipped + image_to_class.skipped > 0) {
    table += fmt::format("left out, having no positive in the gallery: {} classes, {} images\n", class_to_image.skipped,
                         image_to_class.skipped);
  }
  return table;
}

}  // namespace muster
