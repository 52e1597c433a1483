#include "trainer/ranking.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <numeric>

#include "dataloader/batch.h"

namespace muster {

Ranking rank_queries(const std::vector<int64_t>& chosen, const EmbeddingRows& queries, int64_t total_queries,
                     const EmbeddingRows& gallery, int64_t k, Communicator& communicator) {
  Ranking ranking;
  ranking.queries = chosen;
  std::vector<int64_t> own, chosen_rows;
  for (int rank = 0; rank < communicator.size(); ++rank) {
    const Slice slice = slice_of(total_queries, {rank, communicator.size()});
    const auto first = std::lower_bound(chosen.begin(), chosen.end(), slice.first);
    const auto last = std::lower_bound(first, chosen.end(), slice.first + slice.count);
    chosen_rows.push_back(last - first);
    if (rank != communicator.rank()) continue;
    for (auto query = first; query != last; ++query) own.push_back(*query - slice.first);
  }
  const at::Tensor rows = at::tensor(own, at::kLong);
  const EmbeddingRows some{at::index_select(queries.features, 0, rows), at::index_select(queries.identity, 0, rows)};
  const TopK hits = top_k(some, gallery, k, communicator);
  const auto all = static_cast<int64_t>(chosen.size());
  ranking.index = at::empty({all, hits.index.size(1)}, at::kLong);
  ranking.score = at::empty({all, hits.index.size(1)}, at::kFloat);
  communicator.all_gather(ranking.index, hits.index.contiguous(), chosen_rows, "ranking hits").wait();
  communicator.all_gather(ranking.score, hits.score.contiguous(), chosen_rows, "ranking scores").wait();
  return ranking;
}

std::vector<int64_t> all_rows(int64_t total) {
  std::vector<int64_t> rows(static_cast<size_t>(total));
  std::iota(rows.begin(), rows.end(), int64_t{0});
  return rows;
}

}  // namespace muster
