// Ranks by counting: a positive's rank is one more than the number of gallery items that beat it. First the positives
// are scored alone, then every gallery block is scored once and each positive counts who beats it.
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "trainer/retrieval/global_rows.h"
#include "trainer/retrieval/positive_index.h"
#include "trainer/retrieval/retrieval.h"
#include "trainer/retrieval/score_kernel.h"

namespace muster {
namespace {

struct Positive {
  float score;
  uint32_t item;
  uint32_t
      ahead;  // items that beat it; for long lists, until finish(), items that beat it but none before it in the list
};

// From this many positives on, items look for their place among the positives instead.
constexpr int64_t kLongList = 256;

bool beats(float score, int64_t item, const Positive& positive) {
  return score > positive.score || (score == positive.score && item < static_cast<int64_t>(positive.item));
}

// Adds the items of a block that beat this positive.
void count_block(const float* scores, const GalleryBlock& block, Positive& positive) {
  const int64_t earlier = std::clamp<int64_t>(static_cast<int64_t>(positive.item) - block.first, 0, block.count);
  const int64_t ahead = count_greater_equal(scores, earlier, positive.score) +
                        count_greater(scores + earlier, block.count - earlier, positive.score);
  positive.ahead += static_cast<uint32_t>(ahead);
}

// Adds each item of a block to the best positive that it beats.
void place_block(const float* scores, const GalleryBlock& block, Positive* positives, int64_t count) {
  for (int64_t i = 0; i < block.count; ++i) {
    Positive* best = std::partition_point(positives, positives + count, [&](const Positive& positive) {
      return !beats(scores[i], block.first + i, positive);
    });
    if (best != positives + count) ++best->ahead;
  }
}

class RankCounter {
 public:
  RankCounter(const EmbeddingRows& queries, const PositiveIndex& index) {
    const at::Tensor identities = queries.identity.contiguous();
    begins_.push_back(0);
    for (int64_t q = 0; q < identities.size(0); ++q) {
      for (const uint32_t item : index.of(identities.const_data_ptr<int64_t>()[q])) positives_.push_back({0, item, 0});
      begins_.push_back(static_cast<int64_t>(positives_.size()));
    }
  }

  // Scores the positives that lie in this block.
  void score_positives(const UnitRows& queries, const GalleryBlock& block, int64_t width) {
    at::parallel_for(0, queries.size(), 64, [&](int64_t begin, int64_t end) {
      std::vector<float> unit(static_cast<size_t>(width));
      std::vector<const float*> rows;
      std::vector<float> scores;
      for (int64_t q = begin; q < end; ++q) {
        Positive* first = at_or_after(q, block.first);
        Positive* last = at_or_after(q, block.first + block.count);
        if (first == last) continue;
        rows.clear();
        for (Positive* p = first; p != last; ++p) rows.push_back(block.rows + (p->item - block.first) * width);
        scores.resize(rows.size());
        queries.copy(q, unit.data());
        score_pairs(unit.data(), rows.data(), last - first, width, scores.data());
        for (Positive* p = first; p != last; ++p) p->score = scores[static_cast<size_t>(p - first)];
      }
    });
  }

  void sort_positives() {
    for (int64_t q = 0; q < queries(); ++q) {
      std::sort(begin(q), end(q), [](const Positive& a, const Positive& b) { return beats(a.score, a.item, b); });
    }
  }

  void count(int64_t query, const float* scores, const GalleryBlock& block) {
    if (end(query) - begin(query) >= kLongList) {
      place_block(scores, block, begin(query), end(query) - begin(query));
      return;
    }
    for (Positive* p = begin(query); p != end(query); ++p) count_block(scores, block, *p);
  }

  void finish() {
    for (int64_t q = 0; q < queries(); ++q) {
      if (end(q) - begin(q) < kLongList) continue;
      for (Positive* p = begin(q) + 1; p != end(q); ++p) p->ahead += (p - 1)->ahead;
    }
  }

  // [queries, 3] float64: rank of the best positive (0: there is none), average precision, inverse negative penalty.
  at::Tensor figures() {
    const at::Tensor figures = at::empty({queries(), 3}, at::kDouble);
    auto* row = figures.mutable_data_ptr<double>();
    for (int64_t q = 0; q < queries(); ++q, row += 3) {
      const int64_t count = end(q) - begin(q);
      row[0] = row[1] = row[2] = 0;
      if (count == 0) continue;
      for (int64_t k = 0; k < count; ++k) {
        row[1] += static_cast<double>(k + 1) / rank(begin(q)[k]) / static_cast<double>(count);
      }
      row[0] = rank(begin(q)[0]);
      row[2] = static_cast<double>(count) / rank(begin(q)[count - 1]);
    }
    return figures;
  }

 private:
  int64_t queries() const { return static_cast<int64_t>(begins_.size()) - 1; }
  Positive* begin(int64_t query) { return positives_.data() + begins_[static_cast<size_t>(query)]; }
  Positive* end(int64_t query) { return positives_.data() + begins_[static_cast<size_t>(query) + 1]; }
  // Valid before sort_positives().
  Positive* at_or_after(int64_t query, int64_t item) {
    return std::partition_point(begin(query), end(query), [item](const Positive& p) { return p.item < item; });
  }
  static double rank(const Positive& positive) { return 1.0 + static_cast<double>(positive.ahead); }

  std::vector<Positive> positives_;  // by query
  std::vector<int64_t> begins_;
};

// Summed in the order of the global queries, so that the cut over ranks leaves no trace in the last bits.
RetrievalMetrics mean_figures(const at::Tensor& figures, int64_t gallery) {
  RetrievalMetrics metrics;
  metrics.gallery = gallery;
  const auto* row = figures.const_data_ptr<double>();
  for (int64_t q = 0; q < figures.size(0); ++q, row += 3) {
    if (row[0] == 0) {
      ++metrics.skipped;
      continue;
    }
    ++metrics.queries;
    metrics.r1 += row[0] <= 1;
    metrics.r5 += row[0] <= 5;
    metrics.r10 += row[0] <= 10;
    metrics.map += row[1];
    metrics.minp += row[2];
  }
  const double percent = metrics.queries == 0 ? 0 : 100 / static_cast<double>(metrics.queries);
  for (double* figure : {&metrics.r1, &metrics.r5, &metrics.r10, &metrics.map, &metrics.minp}) *figure *= percent;
  return metrics;
}

void check_identities(const EmbeddingRows& side) {
  if (side.identity.dim() != 1 || side.identity.scalar_type() != at::kLong || side.features.dim() != 2 ||
      side.identity.size(0) != side.features.size(0)) {
    throw std::logic_error("retrieval: identity must be int64 with one entry a row");
  }
}

}  // namespace

RetrievalMetrics evaluate_retrieval(const EmbeddingRows& queries, const EmbeddingRows& gallery,
                                    Communicator& communicator) {
  check_identities(queries);
  check_identities(gallery);
  const RetrievalShape shape = agree_on_shape(queries, gallery, communicator);
  const at::Tensor identities = gather_rows(gallery.identity, shape.gallery_rows, communicator, "retrieval.identity");
  const PositiveIndex index(identities.const_data_ptr<int64_t>(), identities.size(0));
  RankCounter counter(queries, index);
  const UnitRows unit_queries(queries.features, shape.width);
  const UnitRows unit_gallery(gallery.features, shape.width);

  for_each_gallery_block(unit_gallery, shape, communicator,
                         [&](const GalleryBlock& block) { counter.score_positives(unit_queries, block, shape.width); });
  counter.sort_positives();
  BlockScorer scorer(unit_queries, shape.width);
  for_each_gallery_block(unit_gallery, shape, communicator, [&](const GalleryBlock& block) {
    scorer.score(block, [&](int64_t first, int64_t count, const float* scores) {
      for (int64_t q = 0; q < count; ++q) counter.count(first + q, scores + q * kBlockRows, block);
    });
  });
  counter.finish();
  return mean_figures(gather_rows(counter.figures(), shape.query_rows, communicator, "retrieval.figures"),
                      shape.gallery());
}

}  // namespace muster
