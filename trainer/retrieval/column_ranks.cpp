#include "trainer/retrieval/column_ranks.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "trainer/retrieval/rank_figures.h"
#include "trainer/retrieval/score_kernel.h"

namespace muster {
namespace {

constexpr float kNever = std::numeric_limits<float>::infinity();  // no score reaches it

}  // namespace

ColumnGallery::ColumnGallery(const at::Tensor& identities, const std::vector<int64_t>& rows_of_ranks, int my_rank)
    : index(identities.const_data_ptr<int64_t>(), identities.size(0)),
      rows(rows_of_ranks),
      my_first(std::accumulate(rows.begin(), rows.begin() + my_rank, int64_t{0})) {
  const auto* identity = identities.const_data_ptr<int64_t>();
  for (int64_t q = 0; q < identities.size(0); ++q) numbers.push_back(index.number(identity[q]));
}

ColumnRanks::ColumnRanks(const ColumnGallery& gallery, const int64_t* identities, int64_t count) : gallery_(gallery) {
  std::vector<int64_t> columns_of(static_cast<size_t>(gallery.index.identities()));
  for (int64_t column = 0; column < count; ++column) {
    numbers_.push_back(gallery.index.number(identities[column]));
    positions_.push_back(numbers_.back() < 0 ? 0 : columns_of[static_cast<size_t>(numbers_.back())]++);
  }
  first_pair_.reserve(gallery.numbers.size() + 1);
  first_pair_.push_back(0);
  for (const int64_t number : gallery.numbers) {
    first_pair_.push_back(first_pair_.back() + columns_of[static_cast<size_t>(number)]);
  }
  lay_out_strips();
}

void ColumnRanks::lay_out_strips() {
  int64_t slots = 0;
  for (int64_t first = 0; first < columns(); first += kStripColumns) {
    int64_t lists = 0;
    for (int64_t column = first; column < std::min(first + kStripColumns, columns()); ++column) {
      if (is_long(column)) {
        long_columns_.push_back(column);
      } else {
        lists = std::max(lists, positives(column).size());
      }
    }
    strips_.push_back({slots, lists});
    slots += lists * kStripColumns;
  }
  thresholds_.assign(static_cast<size_t>(slots), kNever);
}

void ColumnRanks::exchange_scores(std::vector<float> own, Communicator& communicator) {
  std::vector<int64_t> pairs;
  size_t query = 0;
  for (const int64_t rows : gallery_.rows) {
    const size_t first = query;
    query += static_cast<size_t>(rows);
    pairs.push_back(first_pair_[query] - first_pair_[first]);
  }
  const at::Tensor mine = at::from_blob(own.data(), {static_cast<int64_t>(own.size())}, at::kFloat);
  place_scores(gather_rows(mine, pairs, communicator, "retrieval.positives").const_data_ptr<float>());
}

void ColumnRanks::place_scores(const float* scores) {
  pairs_.resize(static_cast<size_t>(first_pair_.back()));
  for (int64_t column = 0; column < columns(); ++column) {
    const int64_t count = positives(column).size();
    if (is_long(column)) {
      std::vector<float> own;
      for (int64_t k = 0; k < count; ++k) own.push_back(scores[pair(column, k)]);
      long_lists_.emplace_back(own, positives(column).first);
      continue;
    }
    for (int64_t k = 0; k < count; ++k) {
      pairs_[static_cast<size_t>(pair(column, k))] = {static_cast<uint32_t>(slot(column, k)),
                                                      static_cast<uint32_t>(column)};
      thresholds_[static_cast<size_t>(slot(column, k))] = scores[pair(column, k)];
    }
  }
  workers_.resize(static_cast<size_t>(at::get_num_threads()));
}

void ColumnRanks::count(int worker, int64_t first_query, int64_t count, const float* scores) {
  Worker& mine = workers_[static_cast<size_t>(worker)];
  const int64_t first = gallery_.my_first + first_query;
  move_to(mine, first);
  for (size_t s = 0; s < strips_.size(); ++s) {
    const int64_t slot = strips_[s].first_slot;
    count_strip(scores + static_cast<int64_t>(s) * kStripColumns, kScoreStride, count, mine.thresholds.data() + slot,
                strips_[s].lists, mine.counts.data() + slot);
  }
  take_back_ties(mine, first, count, scores);
  for (size_t i = 0; i < long_columns_.size(); ++i) {
    long_lists_[i].place(scores + long_columns_[i], kScoreStride, first, count);
  }
}

template <typename Visit>
void ColumnRanks::visit_pairs(int64_t query, const Visit& visit) const {
  const auto q = static_cast<size_t>(query);
  if (gallery_.index.of_number(gallery_.numbers[q]).size() >= kLongList) return;
  for (int64_t p = first_pair_[q]; p < first_pair_[q + 1]; ++p) visit(pairs_[static_cast<size_t>(p)]);
}

void ColumnRanks::move_to(Worker& worker, int64_t query) const {
  if (worker.counts.empty()) {
    worker.thresholds = thresholds_;
    worker.counts.resize(thresholds_.size());
  }
  for (; worker.next_query < query; ++worker.next_query) {
    visit_pairs(worker.next_query, [&](const Pair& pair) {
      float& threshold = worker.thresholds[pair.slot];
      threshold = std::nextafter(threshold, kNever);
    });
  }
}

// For these queries' own positives the thresholds are still the lower ones: of the queries counted, take back those
// that equal the positive and are not before it, the positive itself among them.
void ColumnRanks::take_back_ties(Worker& worker, int64_t first_query, int64_t count, const float* scores) const {
  for (int64_t q = 0; q < count; ++q) {
    visit_pairs(first_query + q, [&](const Pair& pair) {
      const float score = worker.thresholds[pair.slot];
      for (int64_t other = q; other < count; ++other) {
        if (scores[other * kScoreStride + pair.column] == score) --worker.counts[pair.slot];
      }
    });
  }
}

// By column, then positive; of long lists the best positive first.
void ColumnRanks::write_ahead(int64_t* ahead) const {
  auto long_list = long_lists_.begin();
  for (int64_t column = 0; column < columns(); ++column) {
    const int64_t count = positives(column).size();
    if (is_long(column)) {
      (long_list++)->write_ahead(ahead);
    } else {
      for (int64_t k = 0; k < count; ++k) {
        ahead[k] = 0;
        for (const Worker& worker : workers_) {
          if (!worker.counts.empty()) ahead[k] += worker.counts[static_cast<size_t>(slot(column, k))];
        }
      }
    }
    ahead += count;
  }
}

void ColumnRanks::write_figures(Communicator& communicator, double* figures, const ColumnTops* tops) const {
  const at::Tensor all = at::empty({first_pair_.back()}, at::kLong);
  write_ahead(all.mutable_data_ptr<int64_t>());
  communicator.all_reduce(all, ReduceOp::kSum, "retrieval.columns").wait();
  const auto* ahead = all.const_data_ptr<int64_t>();
  std::vector<int64_t> own;
  for (int64_t column = 0; column < columns(); ++column, figures += kFigures) {
    own.assign(ahead, ahead + positives(column).size());
    ahead += own.size();
    if (tops != nullptr) reorder_best(tops->best_first(column), positives(column), own);
    muster::write_figures(own, figures);
  }
}

}  // namespace muster
