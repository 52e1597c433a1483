#include "trainer/retrieval/positive_index.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <stdexcept>

namespace muster {

PositiveIndex::PositiveIndex(const int64_t* identities, int64_t count) : items_(static_cast<size_t>(count)) {
  if (count > std::numeric_limits<uint32_t>::max()) throw std::logic_error("retrieval: gallery of 2^32 items or more");
  std::iota(items_.begin(), items_.end(), 0U);
  std::stable_sort(items_.begin(), items_.end(),
                   [identities](uint32_t a, uint32_t b) { return identities[a] < identities[b]; });
  for (int64_t i = 0; i < count; ++i) {
    const int64_t identity = identities[items_[static_cast<size_t>(i)]];
    if (!identities_.empty() && identities_.back() == identity) continue;
    identities_.push_back(identity);
    begins_.push_back(i);
  }
  begins_.push_back(count);
}

int64_t PositiveIndex::number(int64_t identity) const {
  const auto found = std::lower_bound(identities_.begin(), identities_.end(), identity);
  return found == identities_.end() || *found != identity ? -1 : found - identities_.begin();
}

PositiveIndex::Span PositiveIndex::of_number(int64_t number) const {
  if (number < 0) return {items_.data(), items_.data()};
  const auto position = static_cast<size_t>(number);
  return {items_.data() + begins_[position], items_.data() + begins_[position + 1]};
}

}  // namespace muster
