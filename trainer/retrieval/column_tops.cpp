#include "trainer/retrieval/column_tops.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <array>
#include <numeric>

#include "trainer/retrieval/score_kernel.h"

namespace muster {

ColumnTops::ColumnTops(const GalleryBlock& block, int64_t k, const std::vector<int64_t>& query_rows, int my_rank)
    : block_(block),
      k_(k),
      query_rows_(query_rows),
      my_first_(std::accumulate(query_rows.begin(), query_rows.begin() + my_rank, int64_t{0})),
      workers_(static_cast<size_t>(at::get_num_threads())),
      hits_(static_cast<size_t>(block.count)) {}

void ColumnTops::consider(int worker, int64_t first_query, int64_t count, const float* scores) {
  Worker& mine = workers_[static_cast<size_t>(worker)];
  if (mine.best.empty()) {
    mine.best.assign(hits_.size(), BestHits(static_cast<size_t>(k_)));
    mine.thresholds.assign(hits_.size(), mine.best.front().threshold());
  }
  std::array<uint32_t, kBlockRows> found;
  for (int64_t q = 0; q < count; ++q, scores += kScoreStride) {
    const int64_t some = find_greater_each(scores, mine.thresholds.data(), block_.count, found.data());
    for (int64_t i = 0; i < some; ++i) {
      const uint32_t column = found[static_cast<size_t>(i)];
      mine.best[column].add(scores[column], static_cast<uint32_t>(my_first_ + first_query + q));
      mine.thresholds[column] = mine.best[column].threshold();
    }
  }
}

void ColumnTops::join_workers() {
  at::parallel_for(0, block_.count, 16, [&](int64_t first, int64_t last) {
    for (auto column = static_cast<size_t>(first); column < static_cast<size_t>(last); ++column) {
      std::vector<Hit>& hits = hits_[column];
      for (Worker& worker : workers_) {
        if (worker.best.empty()) continue;
        const std::vector<Hit> some = worker.best[column].take();
        hits.insert(hits.end(), some.begin(), some.end());
      }
      keep_best(hits, static_cast<size_t>(k_));
    }
  });
  workers_.clear();
}

void ColumnTops::join_ranks(Communicator& communicator) {
  if (communicator.size() == 1) return;
  std::vector<float> scores;
  std::vector<int64_t> items, counts;
  for (const std::vector<Hit>& hits : hits_) {
    for (const Hit& hit : hits) {
      scores.push_back(hit.score);
      items.push_back(hit.item);
    }
  }
  for (size_t rank = 0; rank < query_rows_.size(); ++rank) counts.push_back(hits_of_rank(rank) * block_.count);
  const auto own = static_cast<int64_t>(scores.size());
  const at::Tensor all_scores =
      gather_rows(at::from_blob(scores.data(), {own}, at::kFloat), counts, communicator, "retrieval.best scores");
  const at::Tensor all_items =
      gather_rows(at::from_blob(items.data(), {own}, at::kLong), counts, communicator, "retrieval.best items");
  const auto* score = all_scores.const_data_ptr<float>();
  const auto* item = all_items.const_data_ptr<int64_t>();
  for (std::vector<Hit>& hits : hits_) hits.clear();
  for (size_t rank = 0; rank < query_rows_.size(); ++rank) {
    for (std::vector<Hit>& hits : hits_) {
      for (int64_t i = 0; i < hits_of_rank(rank); ++i) hits.push_back({*score++, static_cast<uint32_t>(*item++)});
    }
  }
  for (std::vector<Hit>& hits : hits_) keep_best(hits, static_cast<size_t>(k_));
}

// Of the hits among this rank's queries; by column, then hit.
void ColumnTops::add_seconds(const UnitRows& queries, std::vector<float>& seconds) const {
  const auto kept = static_cast<int64_t>(hits_.empty() ? 0 : hits_.front().size());
  at::parallel_for(0, block_.count, 16, [&](int64_t first, int64_t last) {
    std::vector<const float*> rows;
    std::vector<float*> places;
    std::vector<float> products;
    for (int64_t column = first; column < last; ++column) {
      rows.clear();
      places.clear();
      float* place = seconds.data() + column * kept;
      for (const Hit& hit : hits_[static_cast<size_t>(column)]) {
        const int64_t row = hit.item - my_first_;
        if (row >= 0 && row < queries.size()) {
          rows.push_back(queries.second(row));
          places.push_back(place);
        }
        ++place;
      }
      products.resize(rows.size());
      lane_products(block_.rows + column * queries.width() + queries.widths()[0], rows.data(),
                    static_cast<int64_t>(rows.size()), queries.widths()[1], products.data());
      for (size_t i = 0; i < places.size(); ++i) *places[i] = products[i];
    }
  });
}

void ColumnTops::finish(Communicator& communicator) {
  join_workers();
  join_ranks(communicator);
  for (std::vector<Hit>& hits : hits_) std::sort(hits.begin(), hits.end(), better);
}

void ColumnTops::mix(const UnitRows& queries, const ScoreRule& rule, Communicator& communicator) {
  join_workers();
  join_ranks(communicator);
  const size_t kept = hits_.front().size();
  std::vector<float> seconds(kept * hits_.size(), 0.0F);
  add_seconds(queries, seconds);
  // Each is of one rank, zero on the others.
  communicator
      .all_reduce(at::from_blob(seconds.data(), {static_cast<int64_t>(seconds.size())}, at::kFloat), ReduceOp::kSum,
                  "retrieval.best mixed")
      .wait();
  at::parallel_for(0, block_.count, 16, [&](int64_t first, int64_t last) {
    for (int64_t column = first; column < last; ++column) {
      std::vector<Hit>& hits = hits_[static_cast<size_t>(column)];
      const float* second = seconds.data() + static_cast<size_t>(column) * kept;
      for (Hit& hit : hits) hit.score = rule.mix_for_item(block_.first + column, hit.score, *second++);
      std::sort(hits.begin(), hits.end(), better);
    }
  });
}

}  // namespace muster
