// Which gallery items are a query's positives.
#pragma once

#include <cstdint>
#include <vector>

namespace muster {

class PositiveIndex {
 public:
  // identities[g] of all gallery items. Fewer than 2^32.
  PositiveIndex(const int64_t* identities, int64_t count);

  // Gallery items of that identity, ascending.
  struct Span {
    const uint32_t* first;
    const uint32_t* last;
    const uint32_t* begin() const { return first; }
    const uint32_t* end() const { return last; }
    int64_t size() const { return last - first; }
  };
  Span of(int64_t identity) const { return of_number(number(identity)); }

  // The distinct identities are numbered upwards from 0.
  int64_t identities() const { return static_cast<int64_t>(identities_.size()); }
  int64_t number(int64_t identity) const;  // -1 if no item has it
  Span of_number(int64_t number) const;    // nothing for -1

 private:
  std::vector<uint32_t> items_;      // by identity, then index
  std::vector<int64_t> identities_;  // distinct, ascending
  std::vector<int64_t> begins_;      // into items_, one more than identities_
};

}  // namespace muster
