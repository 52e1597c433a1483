#include "dataloader/permutation.h"

#include <cmath>

#include "dataloader/random.h"

namespace muster {
namespace {

// So many because few samples have few round functions: over half a million keys, the orders of 6 samples are visibly
// uneven below 16 rounds and even from there on. A sample costs about 0.5 microseconds.
constexpr uint32_t kRounds = 24;

uint64_t round_value(const std::array<uint32_t, 2>& key, uint32_t round, uint64_t half) {
  const auto low = static_cast<uint32_t>(half);
  const auto high = static_cast<uint32_t>(half >> 32);
  const std::array<uint32_t, 4> words = philox4x32({low, high, round, 0}, key);
  return words[0] | uint64_t{words[1]} << 32;
}

}  // namespace

Permutation::Permutation(int64_t size, uint64_t seed, uint64_t index)
    : size_(static_cast<uint64_t>(size)),
      rows_(static_cast<uint64_t>(std::ceil(std::sqrt(static_cast<double>(size))))),
      columns_((size_ + rows_ - 1) / rows_) {
  KeyedRandom random(seed, index, Purpose::kSampler);
  key_ = {random.next_u32(), random.next_u32()};
}

int64_t Permutation::operator()(int64_t place) const {
  auto value = static_cast<uint64_t>(place);
  do {
    uint64_t row = value / columns_;
    uint64_t column = value % columns_;
    for (uint32_t round = 0; round < kRounds; round += 2) {
      row = (row + round_value(key_, round, column) % rows_) % rows_;
      column = (column + round_value(key_, round + 1, row) % columns_) % columns_;
    }
    value = row * columns_ + column;
  } while (value >= size_);
  return static_cast<int64_t>(value);
}

}  // namespace muster
