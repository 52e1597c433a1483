// Which identity has which row of the bank, and which rank keeps which rows.
//
// The order depends on the seed and the identities alone, so every placement and world size has the same rows; it is
// random, so that identities that are many in a store (or follow each other in it) spread over the ranks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace muster {

class ReferenceOrder {
 public:
  // Repeated identities count once.
  ReferenceOrder(std::vector<int64_t> identities, uint64_t seed);

  int64_t size() const { return static_cast<int64_t>(by_row_.size()); }
  // -1 if the identity has no row.
  int64_t row_of(int64_t identity) const;
  int64_t identity_of(int64_t row) const { return by_row_[static_cast<size_t>(row)]; }
  // In row order.
  const std::vector<int64_t>& identities() const { return by_row_; }

 private:
  std::vector<int64_t> by_row_;
  std::vector<int64_t> sorted_;       // identities, ascending
  std::vector<int64_t> sorted_rows_;  // the row of each
};

}  // namespace muster
