#include "trainer/retrieval/metrics.h"

#include <fmt/format.h>

#include <algorithm>

namespace muster {
namespace {

std::string table_row(const char* direction, const RetrievalMetrics& metrics) {
  return fmt::format("{:<13}  {:>6.2f}  {:>6.2f}  {:>6.2f}  {:>6.2f}  {:>6.2f}  {:>8}  {:>8}\n", direction, metrics.r1,
                     metrics.r5, metrics.r10, metrics.map, metrics.minp, metrics.queries, metrics.gallery);
}

}  // namespace

std::string format_retrieval_table(const RetrievalMetrics& text_to_image, const RetrievalMetrics& image_to_text) {
  std::string table = fmt::format("{:<13}  {:>6}  {:>6}  {:>6}  {:>6}  {:>6}  {:>8}  {:>8}\n", "%", "R@1", "R@5",
                                  "R@10", "mAP", "mINP", "queries", "gallery");
  table += table_row("text to image", text_to_image);
  table += table_row("image to text", image_to_text);
  const int64_t skipped = text_to_image.skipped + image_to_text.skipped;
  if (skipped > 0) {
    table += fmt::format("left out, having no positive in the gallery: {} captions, {} images\n", text_to_image.skipped,
                         image_to_text.skipped);
  }
  return table;
}

}  // namespace muster
