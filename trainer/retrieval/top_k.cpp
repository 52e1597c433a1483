#include <ATen/ops/empty.h>

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "trainer/retrieval/global_rows.h"
#include "trainer/retrieval/retrieval.h"
#include "trainer/retrieval/score_kernel.h"

namespace muster {
namespace {

struct Hit {
  float score;
  int64_t item;
};

bool better(const Hit& a, const Hit& b) {
  return a.score > b.score || (a.score == b.score && a.item < b.item);
}

// The best hits of one query: a heap with the worst on top.
void keep_best(const float* scores, const GalleryBlock& block, size_t k, std::vector<Hit>& best) {
  for (int64_t begin = 0; begin < block.count; begin += kPanelRows) {
    const int64_t count = std::min(kPanelRows, block.count - begin);
    // Items come in ascending order, so an equal score never displaces one that is kept.
    if (best.size() == k && count_greater(scores + begin, count, best.front().score) == 0) continue;
    for (int64_t i = begin; i < begin + count; ++i) {
      if (best.size() == k) {
        if (scores[i] <= best.front().score) continue;
        std::pop_heap(best.begin(), best.end(), better);
        best.pop_back();
      }
      best.push_back({scores[i], block.first + i});
      std::push_heap(best.begin(), best.end(), better);
    }
  }
}

}  // namespace

TopK top_k(const EmbeddingRows& queries, const EmbeddingRows& gallery, int64_t k, Communicator& communicator) {
  if (k < 1) throw std::logic_error("top_k: k must be at least 1");
  const RetrievalShape shape = agree_on_shape(queries, gallery, communicator);
  const UnitRows unit_queries(queries.features, shape.width);
  const UnitRows unit_gallery(gallery.features, shape.width);
  const int64_t kept = std::min(k, shape.gallery());
  std::vector<std::vector<Hit>> best(static_cast<size_t>(unit_queries.size()));
  BlockScorer scorer(unit_queries);
  for_each_gallery_block(unit_gallery, shape, communicator, [&](const GalleryBlock& block) {
    scorer.score(block, [&](int /*worker*/, int64_t first, int64_t count, float* scores) {
      for (int64_t q = 0; q < count; ++q) {
        keep_best(scores + q * kScoreStride, block, static_cast<size_t>(kept), best[static_cast<size_t>(first + q)]);
      }
    });
  });

  TopK result{at::empty({unit_queries.size(), kept}, at::kLong), at::empty({unit_queries.size(), kept}, at::kFloat)};
  auto* index = result.index.mutable_data_ptr<int64_t>();
  auto* score = result.score.mutable_data_ptr<float>();
  for (std::vector<Hit>& hits : best) {
    std::sort_heap(hits.begin(), hits.end(), better);
    for (const Hit& hit : hits) {
      *index++ = hit.item;
      *score++ = hit.score;
    }
  }
  return result;
}

}  // namespace muster
