// By hand, with the sizes of MpiCommunicator's algorithms; tests/commands/dry_run_test.cpp has MPI's own count.
#include "comm/traffic.h"

#include <gtest/gtest.h>

namespace muster {
namespace {

void expect_traffic(const Traffic& traffic, int64_t handed, int64_t sent, int64_t messages) {
  EXPECT_EQ(traffic.handed, handed);
  EXPECT_EQ(traffic.sent, sent);
  EXPECT_EQ(traffic.messages, messages);
}

TEST(Traffic, OfASmallAllReduceIsEachRanksTensorToAllOthers) {
  expect_traffic(all_reduce_traffic(10, 8, 1, 4), 80, 3 * 80, 3);
  expect_traffic(all_reduce_traffic(4096, 4, 0, 4), 16384, 3 * 16384, 3);  // 64 KiB together
  expect_traffic(all_reduce_traffic(10, 8, 0, 1), 80, 0, 0);
  expect_traffic(all_reduce_traffic(0, 8, 0, 4), 0, 0, 0);
}

TEST(Traffic, OfALargeAllReduceIsThatOfARing) {
  // 4,098 numbers in pieces of 1,025, 1,025, 1,024, 1,024.
  expect_traffic(all_reduce_traffic(4098, 4, 0, 4), 16392, 4 * (3073 + 3 * 1025), 6);
  expect_traffic(all_reduce_traffic(4098, 4, 3, 4), 16392, 4 * (3074 + 3 * 1024), 6);
  expect_traffic(all_reduce_traffic(1 << 20, 4, 0, 8), 4 << 20, (int64_t{4} << 20) * 2 * 7 / 8, 14);
  expect_traffic(all_reduce_traffic(1 << 20, 4, 0, 1), 4 << 20, 0, 0);
  const int64_t two = 2 * kLargestPiece;
  expect_traffic(all_reduce_traffic(two, 4, 0, 2), 4 * two, 4 * two, 4);
}

TEST(Traffic, OfRowsIsWhatOthersGet) {
  expect_traffic(all_gather_traffic({3, 2, 0}, 10, 0), 30, 60, 2);
  expect_traffic(all_gather_traffic({3, 2, 0}, 10, 2), 0, 0, 0);
  expect_traffic(all_gather_traffic({5}, 10, 0), 50, 0, 0);
  expect_traffic(reduce_scatter_traffic({3, 2, 0}, 10, 0), 50, 20, 1);
  expect_traffic(reduce_scatter_traffic({3, 2, 0}, 10, 2), 50, 50, 2);
  expect_traffic(all_to_all_traffic({1, 4}, 10, 0), 50, 40, 1);
}

}  // namespace
}  // namespace muster
