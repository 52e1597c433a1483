#include "trainer/run_report.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/tensor.h>
#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "trainer/report/html_report.h"

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

struct Ranking {
  std::vector<int64_t> queries;  // rows of the whole split
  at::Tensor index;              // [queries, k] rows of the gallery
  at::Tensor score;
};

// Each rank ranks the chosen queries that are among its rows; all ranks end with all of them.
Ranking rank_some(const EmbeddingRows& queries, int64_t total_queries, const EmbeddingRows& gallery,
                  int64_t total_gallery, int64_t count, Communicator& communicator) {
  Ranking ranking;
  ranking.queries = spread(total_queries, count);
  std::vector<int64_t> own, chosen_rows;
  for (int rank = 0; rank < communicator.size(); ++rank) {
    const Slice slice = slice_of(total_queries, {rank, communicator.size()});
    int64_t held = 0;
    for (const int64_t query : ranking.queries) {
      if (query < slice.first || query >= slice.first + slice.count) continue;
      ++held;
      if (rank == communicator.rank()) own.push_back(query - slice.first);
    }
    chosen_rows.push_back(held);
  }
  const at::Tensor rows = at::tensor(own, at::kLong);
  const EmbeddingRows some{at::index_select(queries.features, 0, rows), at::index_select(queries.identity, 0, rows)};
  const TopK hits = top_k(some, gallery, std::min(total_gallery, kRankedHits), communicator);
  const auto all = static_cast<int64_t>(ranking.queries.size());
  ranking.index = at::empty({all, hits.index.size(1)}, at::kLong);
  ranking.score = at::empty({all, hits.index.size(1)}, at::kFloat);
  communicator.all_gather(ranking.index, hits.index.contiguous(), chosen_rows, "report hits").wait();
  communicator.all_gather(ranking.score, hits.score.contiguous(), chosen_rows, "report scores").wait();
  return ranking;
}

int64_t image_of_caption(const Store& store, const std::vector<int64_t>& images, int64_t caption) {
  const auto after = std::upper_bound(images.begin(), images.end(), caption, [&](int64_t number, int64_t image) {
    return number < store.first_caption(image);
  });
  auto image = std::prev(after);
  while (store.caption_count(*image) == 0) --image;
  return *image;
}

// Calls take(gallery row, score, right) for the hits that are shown; returns the first right hit's rank, 0 if it is
// beyond those ranked.
template <typename IdentityOf, typename Take>
int64_t walk_hits(const Ranking& ranking, int64_t query, int64_t identity, const IdentityOf& identity_of,
                  const Take& take) {
  const int64_t* index = ranking.index[query].const_data_ptr<int64_t>();
  const float* score = ranking.score[query].const_data_ptr<float>();
  int64_t first_right = 0;
  for (int64_t k = 0; k < ranking.index.size(1); ++k) {
    const bool right = identity_of(index[k]) == identity;
    if (right && first_right == 0) first_right = k + 1;
    if (k < kShownHits) take(index[k], static_cast<double>(score[k]), right);
  }
  return first_right;
}

void add_text_queries(ReportData& report, const Ranking& ranking, const Store& store, const SplitEmbeddings& split) {
  for (size_t q = 0; q < ranking.queries.size(); ++q) {
    const int64_t caption = split.captions[static_cast<size_t>(ranking.queries[q])];
    const int64_t identity = store.identity(image_of_caption(store, split.images, caption));
    ReportQuery query;
    query.caption = store.caption(caption);
    query.identity = store.identity_name(identity);
    const auto image_at = [&](int64_t row) { return split.images[static_cast<size_t>(row)]; };
    query.rank_of_first_right = walk_hits(
        ranking, static_cast<int64_t>(q), identity, [&](int64_t row) { return store.identity(image_at(row)); },
        [&](int64_t row, double score, bool right) {
          const int64_t image = image_at(row);
          query.hits.push_back({store.image_bytes(image), store.identity_name(store.identity(image)), score, right});
        });
    report.queries.push_back(std::move(query));
  }
}

void add_image_queries(ReportData& report, const Ranking& ranking, const Store& store, const SplitEmbeddings& split) {
  for (size_t q = 0; q < ranking.queries.size(); ++q) {
    const int64_t image = split.images[static_cast<size_t>(ranking.queries[q])];
    ReportImageQuery query;
    query.image = store.image_bytes(image);
    query.identity = store.identity_name(store.identity(image));
    const auto caption_at = [&](int64_t row) { return split.captions[static_cast<size_t>(row)]; };
    const auto identity_of = [&](int64_t row) {
      return store.identity(image_of_caption(store, split.images, caption_at(row)));
    };
    query.rank_of_first_right = walk_hits(
        ranking, static_cast<int64_t>(q), store.identity(image), identity_of,
        [&](int64_t row, double score, bool right) {
          query.hits.push_back({store.caption(caption_at(row)), store.identity_name(identity_of(row)), score, right});
        });
    report.image_queries.push_back(std::move(query));
  }
}

// R@1 in percent of a ranking by chance: the mean over captions of the share of images that are positives.
double chance_r1(const Store& store, const SplitEmbeddings& split) {
  std::vector<int64_t> images_of_identity(static_cast<size_t>(store.identities()));
  for (const int64_t image : split.images) ++images_of_identity[static_cast<size_t>(store.identity(image))];
  double sum = 0;
  for (const int64_t image : split.images) {
    sum += static_cast<double>(store.caption_count(image)) *
           static_cast<double>(images_of_identity[static_cast<size_t>(store.identity(image))]);
  }
  return 100 * sum / static_cast<double>(split.captions.size()) / static_cast<double>(split.images.size());
}

}  // namespace

void write_run_report(const std::string& path, const std::string& run_dir, const std::string& config,
                      const Store& store, const SplitEmbeddings& embeddings, const EvaluationRecord& record,
                      Communicator& communicator) {
  const auto images = static_cast<int64_t>(embeddings.images.size());
  const auto captions = static_cast<int64_t>(embeddings.captions.size());
  const Ranking by_text =
      rank_some(embeddings.text_rows, captions, embeddings.image_rows, images, kTextQueries, communicator);
  const Ranking by_image =
      rank_some(embeddings.image_rows, images, embeddings.text_rows, captions, kImageQueries, communicator);
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
  report.text_to_image = record.text_to_image;
  report.image_to_text = record.image_to_text;
  report.chance_r1 = chance_r1(store, embeddings);
  add_text_queries(report, by_text, store, embeddings);
  add_image_queries(report, by_image, store, embeddings);
  write_report(path, report);
}

}  // namespace muster
