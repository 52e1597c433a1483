#include "trainer/report/explained_pair.h"

#include <algorithm>
#include <numeric>

namespace muster {

std::vector<int64_t> best_regions(const std::vector<double>& cosines, int64_t most) {
  std::vector<int64_t> order(cosines.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  const auto shown = std::min(most, static_cast<int64_t>(order.size()));
  std::partial_sort(order.begin(), order.begin() + shown, order.end(), [&](int64_t a, int64_t b) {
    const double of_a = cosines[static_cast<size_t>(a)], of_b = cosines[static_cast<size_t>(b)];
    return of_a != of_b ? of_a > of_b : a < b;
  });
  order.resize(static_cast<size_t>(shown));
  return order;
}

double best_cosine(const ExplainedWord& word) {
  return word.cosines.empty() ? 0 : *std::max_element(word.cosines.begin(), word.cosines.end());
}

}  // namespace muster
