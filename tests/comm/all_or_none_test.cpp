#include "comm/all_or_none.h"

#include <gtest/gtest.h>

#include <mutex>
#include <string>
#include <vector>

#include "comm/thread_communicator.h"
#include "launch/error.h"

namespace muster {
namespace {

// What each rank's all_or_none() throws if these ranks fail; empty: nothing.
std::vector<std::string> outcomes(int ranks, const std::vector<bool>& fails) {
  std::vector<std::string> said(static_cast<size_t>(ranks));
  std::mutex mutex;
  run_ranks(ranks, [&](Communicator& communicator) {
    const auto rank = static_cast<size_t>(communicator.rank());
    std::string what;
    try {
      all_or_none(communicator, "test", [&] {
        if (fails[rank]) throw DataError("rank " + std::to_string(rank) + std::string(rank * 300, '.'));
      });
    } catch (const DataError& error) {
      what = error.what();
    }
    const std::lock_guard<std::mutex> lock(mutex);
    said[rank] = what;
  });
  return said;
}

TEST(AllOrNone, EveryRankHearsOfTheLowestThatFails) {
  for (const int ranks : {1, 2, 4}) {
    for (int failing = 0; failing < 1 << ranks; ++failing) {
      std::vector<bool> fails;
      std::string expected;
      for (int rank = 0; rank < ranks; ++rank) {
        fails.push_back((failing >> rank & 1) != 0);
        if (fails.back() && expected.empty()) {
          expected = "rank " + std::to_string(rank) + std::string(static_cast<size_t>(rank) * 300, '.');
        }
      }
      EXPECT_EQ(outcomes(ranks, fails), std::vector<std::string>(static_cast<size_t>(ranks), expected));
    }
  }
}

TEST(AllOrNone, WhatIsNoDataErrorIsNobodyElses) {
  run_ranks(1, [](Communicator& communicator) {
    EXPECT_THROW(all_or_none(communicator, "test", [] { throw ConfigError("mine"); }), ConfigError);
  });
}

}  // namespace
}  // namespace muster
