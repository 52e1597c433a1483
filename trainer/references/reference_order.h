// Which identity has which rows of the bank, and which rank keeps which rows.
//
// The order depends on the seed and the identities alone, so every placement and world size has the same rows; it is
// random, so that identities that are many in a store (or follow each other in it) spread over the ranks. The rows of
// one identity follow each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace muster {

class ReferenceOrder {
 public:
  // Repeated identities count once.
  ReferenceOrder(std::vector<int64_t> identities, uint64_t seed, int64_t per_identity = 1);

  // Rows.
  int64_t size() const { return static_cast<int64_t>(by_row_.size()); }
  int64_t per_identity() const { return per_identity_; }
  int64_t identity_count() const { return static_cast<int64_t>(sorted_.size()); }
  // The first of the identity's per_identity() rows; -1 if it has none.
  int64_t row_of(int64_t identity) const;
  int64_t identity_of(int64_t row) const { return by_row_[static_cast<size_t>(row)]; }
  // In row order, each per_identity() times.
  const std::vector<int64_t>& identities() const { return by_row_; }

 private:
  int64_t per_identity_;
  std::vector<int64_t> by_row_;
  std::vector<int64_t> sorted_;       // identities, ascending
  std::vector<int64_t> sorted_rows_;  // the first row of each
};

}  // namespace muster
