// The contract over MPI: every rank of the job runs every case.
#include "comm/communicator.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>

#include <atomic>
#include <functional>
#include <thread>

#include "comm/mpi_communicator.h"
#include "launch/error.h"
#include "tests/support/communicator_contract.h"

namespace muster {
namespace {

class MpiCommunicator : public testing::TestWithParam<bool> {
 protected:
  static std::unique_ptr<Communicator> make(bool checked) {
    MpiOptions options;
    options.checked = checked;
    options.first_timeout_s = 60;
    return make_mpi_communicator(options);
  }
  static void run(const std::function<void(Communicator&)>& body) {
    const auto communicator = make(GetParam());
    body(*communicator);
  }
  static void run(void (*body)(Communicator&, at::Device)) {
    run([body](Communicator& c) { body(c, at::kCPU); });
  }
};

INSTANTIATE_TEST_SUITE_P(Modes, MpiCommunicator, testing::Bool(),
                         [](const auto& mode) { return mode.param ? "Checked" : "Unchecked"; });

TEST_P(MpiCommunicator, ValuesOfEachDtype) {
  run(contract::values_of_each_dtype);
}
TEST_P(MpiCommunicator, RaggedAndEmpty) {
  run(contract::ragged_and_empty);
}
TEST_P(MpiCommunicator, InPlace) {
  run(contract::in_place);
}
TEST_P(MpiCommunicator, Large) {
  run(contract::large);
}
TEST_P(MpiCommunicator, WorksInFlight) {
  run(contract::works_in_flight);
}
TEST_P(MpiCommunicator, BitsOfSums) {
  run(contract::bits_of_sums);
}
TEST_P(MpiCommunicator, Misuse) {
  run(contract::misuse);
}

TEST_P(MpiCommunicator, DifferingCalls) {
  if (!GetParam()) GTEST_SKIP() << "only checked mode compares";
  if (make(false)->size() < 2) GTEST_SKIP() << "needs peers";
  for (int which = 0; which < contract::differing_call_count(); ++which) {
    run([which](Communicator& c) { contract::differing_calls(c, which); });
  }
}

TEST_P(MpiCommunicator, AnotherThreadMayPoll) {
  run([](Communicator& c) {
    std::atomic<bool> stop{false};
    std::thread poller([&] {
      while (!stop) {
        c.poll();
        std::this_thread::yield();
      }
    });
    try {
      for (int i = 0; i < 5; ++i) contract::works_in_flight(c, at::kCPU);
    } catch (...) {
      stop = true;
      poller.join();
      throw;
    }
    stop = true;
    poller.join();
  });
}

TEST_P(MpiCommunicator, TwoCommunicatorsDoNotMeet) {
  const auto a = make(GetParam());
  const auto b = make(GetParam());
  const at::Tensor x = at::full({5}, 1, at::kInt);
  const at::Tensor y = at::full({5}, 10, at::kInt);
  // In another order on every second rank, which one communicator would forbid.
  Work first =
      a->rank() % 2 == 0 || GetParam() ? a->all_reduce(x, ReduceOp::kSum, "x") : b->all_reduce(y, ReduceOp::kSum, "y");
  Work second =
      a->rank() % 2 == 0 || GetParam() ? b->all_reduce(y, ReduceOp::kSum, "y") : a->all_reduce(x, ReduceOp::kSum, "x");
  first.wait();
  second.wait();
  EXPECT_EQ(x[4].item().toInt(), a->size());
  EXPECT_EQ(y[0].item().toInt(), 10 * a->size());
}

// 2.2 GiB on each rank: bytes beyond what an int can count.
TEST(SlowMpiCommunicator, MoreThanTwoGibibytes) {
  const auto c = make_mpi_communicator({});
  if (c->size() > 2) GTEST_SKIP() << "memory for two ranks only";
  const int64_t count = (int64_t{9} << 28) + 5;
  const at::Tensor bytes = at::full({count}, c->rank() + 1, at::kByte);
  c->all_reduce(bytes, ReduceOp::kSum, "large").wait();
  const auto expected = static_cast<uint8_t>(c->size() * (c->size() + 1) / 2);
  EXPECT_EQ(bytes.min().item().toByte(), expected);
  EXPECT_EQ(bytes.max().item().toByte(), expected);
  bytes.fill_(c->rank());
  c->broadcast(bytes, c->size() - 1, "large").wait();
  EXPECT_EQ(bytes[count - 1].item().toInt(), c->size() - 1);
  const int64_t row_bytes = 1 << 20;
  const auto rows = split_rows(2303, c->size());
  const at::Tensor all = bytes.narrow(0, 0, 2303 * row_bytes).view({2303, row_bytes});
  const int64_t first = c->rank() == 0 ? 0 : rows[0];
  all.zero_();
  const at::Tensor own = all.narrow(0, first, rows[static_cast<size_t>(c->rank())]);
  own.fill_(c->rank() + 1);
  c->all_gather(all, own, rows, "large").wait();
  EXPECT_EQ(all[0][0].item().toInt(), 1);
  EXPECT_EQ(all[2302][row_bytes - 1].item().toInt(), c->size());
  c->reduce_scatter(own, all, rows, "large").wait();
  EXPECT_EQ(own[-1][-1].item().toInt(), c->size() * (c->rank() + 1));
}

}  // namespace
}  // namespace muster
