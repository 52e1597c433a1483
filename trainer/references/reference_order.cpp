#include "trainer/references/reference_order.h"

#include <algorithm>
#include <utility>

#include "dataloader/random.h"

namespace muster {

ReferenceOrder::ReferenceOrder(std::vector<int64_t> identities, uint64_t seed, int64_t per_identity)
    : per_identity_(per_identity), sorted_(std::move(identities)) {
  std::sort(sorted_.begin(), sorted_.end());
  sorted_.erase(std::unique(sorted_.begin(), sorted_.end()), sorted_.end());
  std::vector<std::pair<uint64_t, int64_t>> keys;
  keys.reserve(sorted_.size());
  for (const int64_t identity : sorted_) {
    KeyedRandom random(seed, static_cast<uint64_t>(identity), Purpose::kReferenceOrder);
    keys.emplace_back(random.next_u64(), identity);
  }
  std::sort(keys.begin(), keys.end());
  by_row_.reserve(keys.size() * static_cast<size_t>(per_identity));
  for (const auto& [key, identity] : keys) by_row_.insert(by_row_.end(), static_cast<size_t>(per_identity), identity);
  for (int64_t row = 0; row < size(); row += per_identity) sorted_rows_.push_back(row);
  std::sort(sorted_rows_.begin(), sorted_rows_.end(),
            [&](int64_t a, int64_t b) { return identity_of(a) < identity_of(b); });
}

int64_t ReferenceOrder::row_of(int64_t identity) const {
  const auto found = std::lower_bound(sorted_.begin(), sorted_.end(), identity);
  if (found == sorted_.end() || *found != identity) return -1;
  return sorted_rows_[static_cast<size_t>(found - sorted_.begin())];
}

}  // namespace muster
