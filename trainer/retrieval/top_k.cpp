#include <ATen/ops/empty.h>

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "trainer/retrieval/global_rows.h"
#include "trainer/retrieval/retrieval.h"
#include "trainer/retrieval/row_tops.h"
#include "trainer/retrieval/score_kernel.h"

namespace muster {

TopK top_k(const EmbeddingRows& queries, const EmbeddingRows& gallery, int64_t k, Communicator& communicator) {
  if (k < 1) throw std::logic_error("top_k: k must be at least 1");
  const RetrievalShape shape = agree_on_shape(queries, gallery, communicator);
  const UnitRows unit_queries(queries, shape.width);
  const UnitRows unit_gallery(gallery, shape.width);
  if (shape.gallery() > std::numeric_limits<uint32_t>::max()) throw std::logic_error("top_k: gallery of 2^32 or more");
  const int64_t kept = std::min(k, shape.gallery());
  RowTops best(unit_queries.size(), kept);
  BlockScorer scorer(unit_queries);
  for_each_gallery_block(unit_gallery, shape, communicator, [&](const GalleryBlock& block) {
    scorer.score(block, [&](int /*worker*/, int64_t first, int64_t count, float* scores) {
      for (int64_t q = 0; q < count; ++q) best.consider(first + q, scores + q * kScoreStride, block);
    });
  });
  best.end_considering();
  best.sort();

  TopK result{at::empty({unit_queries.size(), kept}, at::kLong), at::empty({unit_queries.size(), kept}, at::kFloat)};
  auto* index = result.index.mutable_data_ptr<int64_t>();
  auto* score = result.score.mutable_data_ptr<float>();
  for (int64_t q = 0; q < unit_queries.size(); ++q) {
    for (const Hit& hit : best.best_first(q)) {
      *index++ = hit.item;
      *score++ = hit.score;
    }
  }
  return result;
}

}  // namespace muster
