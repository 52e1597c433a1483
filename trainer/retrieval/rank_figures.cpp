#include "trainer/retrieval/rank_figures.h"

#include <algorithm>
#include <cmath>

namespace muster {

void write_figures(std::vector<int64_t>& ahead, double* row) {
  std::fill(row, row + kFigures, 0.0);
  if (ahead.empty()) return;
  std::sort(ahead.begin(), ahead.end());
  const auto rank = [&](size_t k) { return 1.0 + static_cast<double>(ahead[k]); };
  const auto count = static_cast<double>(ahead.size());
  for (size_t k = 0; k < ahead.size(); ++k) row[1] += static_cast<double>(k + 1) / rank(k) / count;
  row[0] = rank(0);
  row[2] = count / rank(ahead.size() - 1);
  row[3] = static_cast<double>(std::lower_bound(ahead.begin(), ahead.end(), kFirst) - ahead.begin());
}

RetrievalMetrics mean_figures(const at::Tensor& figures, int64_t gallery) {
  RetrievalMetrics metrics;
  metrics.gallery = gallery;
  std::vector<double> ranks;
  const auto* row = figures.const_data_ptr<double>();
  for (int64_t q = 0; q < figures.size(0); ++q, row += kFigures) {
    if (row[0] == 0) {
      ++metrics.skipped;
      continue;
    }
    ++metrics.queries;
    ranks.push_back(row[0]);
    metrics.mean_rank += row[0];
    metrics.r1 += row[0] <= 1;
    metrics.r5 += row[0] <= 5;
    metrics.r10 += row[0] <= 10;
    metrics.map += row[1];
    metrics.minp += row[2];
    metrics.ap50 += row[3] / static_cast<double>(std::min(kFirst, gallery));
  }
  if (!ranks.empty()) {
    metrics.mean_rank /= static_cast<double>(ranks.size());
    const auto middle = ranks.begin() + static_cast<std::ptrdiff_t>(ranks.size() / 2);
    std::nth_element(ranks.begin(), middle, ranks.end());
    // Of an even number the mean of two.
    const double lower = ranks.size() % 2 == 1 ? *middle : *std::max_element(ranks.begin(), middle);
    metrics.median_rank = std::floor((lower + *middle) / 2);
  }
  const double percent = metrics.queries == 0 ? 0 : 100 / static_cast<double>(metrics.queries);
  for (double* figure : {&metrics.r1, &metrics.r5, &metrics.r10, &metrics.map, &metrics.minp, &metrics.ap50})
    *figure *= percent;
  return metrics;
}

}  // namespace muster
