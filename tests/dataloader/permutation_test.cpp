#include "dataloader/permutation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>
#include <vector>

namespace muster {
namespace {

std::vector<int64_t> all(const Permutation& permutation, int64_t size) {
  std::vector<int64_t> values;
  for (int64_t place = 0; place < size; ++place) values.push_back(permutation(place));
  return values;
}

void expect_bijection(int64_t size, uint64_t seed, uint64_t index) {
  const Permutation permutation(size, seed, index);
  std::vector<bool> seen(static_cast<size_t>(size));
  for (int64_t place = 0; place < size; ++place) {
    const int64_t value = permutation(place);
    ASSERT_GE(value, 0);
    ASSERT_LT(value, size);
    ASSERT_FALSE(seen[static_cast<size_t>(value)]) << value << " twice of " << size;
    seen[static_cast<size_t>(value)] = true;
  }
}

double chi_square(const std::vector<int>& hits, double expected) {
  double sum = 0;
  for (const int hit : hits) sum += std::pow(hit - expected, 2) / expected;
  return sum;
}

// The 99.99 % point, by Wilson and Hilferty.
double chi_square_limit(double freedom) {
  const double third = 2.0 / (9.0 * freedom);
  return freedom * std::pow(1 - third + 3.719 * std::sqrt(third), 3);
}

TEST(Permutation, IsABijection) {
  for (int64_t size = 1; size <= 300; ++size) expect_bijection(size, 7, static_cast<uint64_t>(size % 5));
  for (const int64_t size : {1023, 1024, 1025, 11447, 65537, 99999}) expect_bijection(size, 8, 1);
}

TEST(Permutation, HugeSizesStayInRange) {
  for (const int64_t size : {int64_t{1} << 40, (int64_t{1} << 62) + 12345}) {
    const Permutation permutation(size, 1, 2);
    std::set<int64_t> values;
    for (int64_t place = 0; place < 1000; ++place) {
      values.insert(permutation(place));
      values.insert(permutation(size - 1 - place));
    }
    EXPECT_EQ(values.size(), 2000U);
    EXPECT_GE(*values.begin(), 0);
    EXPECT_LT(*values.rbegin(), size);
  }
}

TEST(Permutation, EveryOrderOfAFewIsAsLikely) {
  for (const int64_t size : {2, 3, 4, 5}) {
    std::map<std::vector<int64_t>, int> orders;
    const int tries = 12000;
    for (int index = 0; index < tries; ++index) ++orders[all(Permutation(size, 9, static_cast<uint64_t>(index)), size)];
    const double count = std::tgamma(static_cast<double>(size + 1));
    ASSERT_EQ(static_cast<double>(orders.size()), count) << size;
    std::vector<int> hits;
    for (const auto& [order, hit] : orders) hits.push_back(hit);
    EXPECT_LT(chi_square(hits, tries / count), chi_square_limit(count - 1)) << size;
  }
}

TEST(Permutation, EveryValueIsAsLikelyAtEveryPlace) {
  const int64_t size = 50;
  const int tries = 20000;
  std::vector<std::vector<int>> hits(size, std::vector<int>(size));
  for (int index = 0; index < tries; ++index) {
    const std::vector<int64_t> values = all(Permutation(size, 10, static_cast<uint64_t>(index)), size);
    for (size_t place = 0; place < values.size(); ++place) ++hits[place][static_cast<size_t>(values[place])];
  }
  double sum = 0;
  for (const std::vector<int>& place : hits) sum += chi_square(place, tries / static_cast<double>(size));
  EXPECT_LT(sum, chi_square_limit(49.0 * 49.0));
}

// Neighbours in the data set (often alike) must not stay neighbours.
TEST(Permutation, StepsBetweenNeighboursAreSpread) {
  const int64_t size = 1000;
  std::vector<int> hits(20);
  for (uint64_t index = 0; index < 50; ++index) {
    const std::vector<int64_t> values = all(Permutation(size, 11, index), size);
    for (size_t place = 0; place + 1 < values.size(); ++place) {
      const int64_t difference = (values[place + 1] - values[place] + size) % size;
      ++hits[static_cast<size_t>(difference * 20 / size)];
    }
  }
  EXPECT_LT(chi_square(hits, 50 * 999 / 20.0), 1.1 * chi_square_limit(19));
}

}  // namespace
}  // namespace muster
