#include "trainer/run_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <utility>
#include <vector>

#include "trainer/ranking.h"
#include "trainer/retrieval/ndcg.h"

namespace muster {
namespace {

constexpr int64_t kTextQueries = 12;
constexpr int64_t kImageQueries = 6;
constexpr int64_t kShownHits = 8;
constexpr int64_t kRankedHits = 10000;  // how far the first right hit is looked for

// `count` rows spread evenly over `total`.
std::vector<int64_t> spread(int64_t total, int64_t count) {
  std::vector<int64_t> chosen;
  for (int64_t i = 0; i < std::min(total, count); ++i) chosen.push_back(i * total / std::min(total, count));
  return chosen;
}

// Calls take(gallery row, score, right) for the hits that are shown; returns the first right hit's rank, 0 if it is
// beyond those ranked.
template <typename LabelOf, typename Take>
int64_t walk_hits(const Ranking& ranking, int64_t query, int64_t label, const LabelOf& label_of, const Take& take) {
  const int64_t* index = ranking.index[query].const_data_ptr<int64_t>();
  const float* score = ranking.score[query].const_data_ptr<float>();
  int64_t first_right = 0;
  for (int64_t k = 0; k < ranking.index.size(1); ++k) {
    const bool right = label_of(index[k]) == label;
    if (right && first_right == 0) first_right = k + 1;
    if (k < kShownHits) take(index[k], static_cast<double>(score[k]), right);
  }
  return first_right;
}

void add_text_queries(ReportData& report, const Ranking& ranking, const Store& store, const SplitEmbeddings& split) {
  const auto image_at = [&](int64_t row) { return split.images[static_cast<size_t>(row)]; };
  for (size_t q = 0; q < ranking.queries.size(); ++q) {
    const auto row = static_cast<size_t>(ranking.queries[q]);
    ReportQuery query;
    query.caption = store.caption(split.captions[row]);
    query.identity = store.identity_name(store.identity(split.caption_images[row]));
    query.rank_of_first_right = walk_hits(
        ranking, static_cast<int64_t>(q), split.label(store, split.caption_images[row]),
        [&](int64_t hit) { return split.label(store, image_at(hit)); },
        [&](int64_t hit, double score, bool right) {
          const int64_t image = image_at(hit);
          query.hits.push_back({store.image_bytes(image), store.identity_name(store.identity(image)), score, right});
        });
    report.queries.push_back(std::move(query));
  }
}

void add_image_queries(ReportData& report, const Ranking& ranking, const Store& store, const SplitEmbeddings& split) {
  const auto image_at = [&](int64_t caption) { return split.caption_images[static_cast<size_t>(caption)]; };
  for (size_t q = 0; q < ranking.queries.size(); ++q) {
    const int64_t image = split.images[static_cast<size_t>(ranking.queries[q])];
    ReportImageQuery query;
    query.image = store.image_bytes(image);
    query.identity = store.identity_name(store.identity(image));
    query.rank_of_first_right = walk_hits(
        ranking, static_cast<int64_t>(q), split.label(store, image),
        [&](int64_t hit) { return split.label(store, image_at(hit)); },
        [&](int64_t hit, double score, bool right) {
          query.hits.push_back({store.caption(split.captions[static_cast<size_t>(hit)]),
                                store.identity_name(store.identity(image_at(hit))), score, right});
        });
    report.image_queries.push_back(std::move(query));
  }
}

// R@1 in percent of a ranking by chance: the mean over captions of the share of images that are positives.
double chance_r1(const Store& store, const SplitEmbeddings& split) {
  std::unordered_map<int64_t, int64_t> images_of_label;
  for (const int64_t image : split.images) ++images_of_label[split.label(store, image)];
  double sum = 0;
  for (const int64_t image : split.images) {
    sum += static_cast<double>(store.caption_count(image)) *
           static_cast<double>(images_of_label[split.label(store, image)]);
  }
  return 100 * sum / static_cast<double>(split.captions.size()) / static_cast<double>(split.images.size());
}

}  // namespace

void write_run_report(const std::string& path, const std::string& run_dir, const std::string& config,
                      const Store& store, const SplitEmbeddings& embeddings, const EvaluationRecord& record,
                      ReportSamples samples, Communicator& communicator) {
  const auto images = static_cast<int64_t>(embeddings.images.size());
  const auto captions = static_cast<int64_t>(embeddings.captions.size());
  Ranking by_text, by_image;
  if (samples.ranks_queries) {
    by_text = rank_queries(spread(captions, kTextQueries), embeddings.text_rows, captions, embeddings.image_rows,
                           kRankedHits, communicator);
    by_image = rank_queries(spread(images, kImageQueries), embeddings.image_rows, images, embeddings.text_rows,
                            kRankedHits, communicator);
  }
  if (communicator.rank() != 0) return;
  ReportData report;
  report.title = run_dir;
  report.config = config;
  report.run_dir = run_dir;
  report.split = record.split;
  report.facts = {{"split", record.split},
                  {"step", std::to_string(record.step)},
                  {"images", std::to_string(images)},
                  {"captions", std::to_string(captions)}};
  for (const NamedNdcg& one : record.ndcg) {
    report.facts.emplace_back(
        fmt::format("NDCG@{} by {}", kNdcgItems, one.name),
        fmt::format("text to image {:.4f}, image to text {:.4f}", one.text_to_image, one.image_to_text));
  }
  report.text_to_image = record.text_to_image;
  report.image_to_text = record.image_to_text;
  report.chance_r1 = chance_r1(store, embeddings);
  add_text_queries(report, by_text, store, embeddings);
  add_image_queries(report, by_image, store, embeddings);
  report.ranking_note = std::move(samples.ranking_note);
  report.restorations = std::move(samples.restorations);
  report.explained = std::move(samples.explained);
  write_report(path, report);
}

}  // namespace muster
