// The contract over local and thread communicators, and what is particular to threads. MPI: tests/mpi/.
#include "comm/communicator.h"

#include <ATen/Parallel.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>

#include <atomic>
#include <thread>

#include "comm/local_communicator.h"
#include "comm/thread_communicator.h"
#include "launch/error.h"
#include "tests/support/communicator_contract.h"

namespace muster {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const CommError& error) {
    return error.what();
  }
  return "no CommError";
}

// World size; 0: the local communicator.
class CommunicatorContract : public testing::TestWithParam<int> {
 protected:
  void run(const std::function<void(Communicator&)>& body) {
    if (GetParam() > 0) return run_ranks(GetParam(), body);
    LocalCommunicator local(/*checked=*/true);
    body(local);
  }
  void run(void (*body)(Communicator&, at::Device)) {
    run([body](Communicator& c) { body(c, at::kCPU); });
  }
};

INSTANTIATE_TEST_SUITE_P(Worlds, CommunicatorContract, testing::Values(0, 1, 2, 3, 4), [](const auto& world) {
  return world.param == 0 ? std::string("Local") : "Threads" + std::to_string(world.param);
});

TEST_P(CommunicatorContract, ValuesOfEachDtype) {
  run(contract::values_of_each_dtype);
}
TEST_P(CommunicatorContract, RaggedAndEmpty) {
  run(contract::ragged_and_empty);
}
TEST_P(CommunicatorContract, InPlace) {
  run(contract::in_place);
}
TEST_P(CommunicatorContract, Large) {
  run(contract::large);
}
TEST_P(CommunicatorContract, WorksInFlight) {
  run(contract::works_in_flight);
}
TEST_P(CommunicatorContract, BitsOfSums) {
  run(contract::bits_of_sums);
}
TEST_P(CommunicatorContract, Misuse) {
  run(contract::misuse);
}

TEST(CheckedMode, DifferingCallsAreReported) {
  for (const int size : {2, 3, 4}) {
    for (int which = 0; which < contract::differing_call_count(); ++which) {
      run_ranks(size, [which](Communicator& c) { contract::differing_calls(c, which); });
    }
  }
}

TEST(SplitRows, DiffersByAtMostOne) {
  EXPECT_EQ(split_rows(10, 4), (std::vector<int64_t>{3, 3, 2, 2}));
  EXPECT_EQ(split_rows(2, 3), (std::vector<int64_t>{1, 1, 0}));
  EXPECT_EQ(split_rows(0, 2), (std::vector<int64_t>{0, 0}));
}

TEST(Communicator, CountsBytesHandedToCollectives) {
  run_ranks(2, [](Communicator& c) {
    c.all_reduce(at::zeros({10}, at::kFloat), ReduceOp::kSum, "a").wait();
    c.all_gather(at::zeros({4, 2}, at::kDouble), at::zeros({2, 2}, at::kDouble), {2, 2}, "b").wait();
    c.barrier("c");
    EXPECT_EQ(c.bytes_started(), 40 + 32);
  });
}

TEST(Communicator, AllToAllReportsRowsThatAreNotSent) {
  const std::string line = error_of([] {
    run_ranks(2, [](Communicator& c) {
      c.all_to_all(at::zeros({3, 2}, at::kFloat), at::zeros({2, 2}, at::kFloat), {1, 1}, {1, 2}, "rows").wait();
    });
  });
  EXPECT_THAT(line, AllOf(HasSubstr("all_to_all 'rows'"), HasSubstr("sends 1 rows where 2 are expected")));
}

TEST(LocalCommunicator, AbortThrows) {
  LocalCommunicator local;
  EXPECT_THAT(error_of([&] { local.abort(76, "the disk is on fire"); }), HasSubstr("the disk is on fire"));
}

TEST(ThreadCommunicator, TimeoutNamesTheSilentRank) {
  const auto ranks = make_thread_communicators(3, /*checked=*/false, /*timeout_s=*/0.05);
  Work other = ranks[2]->all_reduce(at::ones({2}), ReduceOp::kSum, "loss");
  Work work = ranks[0]->all_reduce(at::ones({2}), ReduceOp::kSum, "loss");
  EXPECT_THAT(error_of([&] { work.wait(); }),
              AllOf(HasSubstr("rank 0 waited"), HasSubstr("all_reduce 'loss'"), HasSubstr("rank 1 has not called it")));
  EXPECT_THAT(error_of([&] { ranks[1]->barrier("late"); }), HasSubstr("rank 1 has not called it"));
  EXPECT_THROW(other.wait(), CommError);
}

TEST(ThreadCommunicator, SetTimeoutHoldsForLaterCalls) {
  const auto ranks = make_thread_communicators(2, /*checked=*/false, /*timeout_s=*/1000);
  ranks[0]->set_timeout(0.01);
  EXPECT_THROW(ranks[0]->barrier("alone"), CommError);
}

TEST(ThreadCommunicator, AbortReleasesPeers) {
  std::atomic<int> released{0};
  const std::string line = error_of([&] {
    run_ranks(3, [&](Communicator& c) {
      if (c.rank() == 1) c.abort(76, "rank 1 gives up");
      try {
        c.barrier("never");
      } catch (const CommError& error) {
        EXPECT_THAT(error.what(), HasSubstr("rank 1 gives up"));
        ++released;
        throw;
      }
    });
  });
  EXPECT_THAT(line, HasSubstr("rank 1 gives up"));
  EXPECT_EQ(released, 2);
}

TEST(RunRanks, RethrowsTheFirstErrorAndReleasesPeers) {
  try {
    run_ranks(4, [](Communicator& c) {
      if (c.rank() == 2) throw DataError("no such file");
      c.barrier("never");
    });
    FAIL() << "nothing was thrown";
  } catch (const DataError& error) {
    EXPECT_STREQ(error.what(), "no such file");
  }
}

TEST(RunRanks, ARankThatEndsEarlyIsNamed) {
  const std::string line = error_of([] {
    run_ranks(2, [](Communicator& c) {
      if (c.rank() == 0) c.barrier("one more");
    });
  });
  EXPECT_THAT(line, AllOf(HasSubstr("barrier 'one more'"), HasSubstr("rank 1 ended")));
}

TEST(RunRanks, OneIntraOpThreadEachAndTheCallersCountStays) {
  const int before = at::get_num_threads();
  run_ranks(2, [](Communicator&) { EXPECT_EQ(at::get_num_threads(), 1); });
  EXPECT_EQ(at::get_num_threads(), before);
}

TEST(ThreadCommunicator, UncheckedMismatchIsStillNoMemoryError) {
  const auto ranks = make_thread_communicators(2, /*checked=*/false);
  Work first = ranks[0]->all_reduce(at::ones({2}), ReduceOp::kSum, "a");
  EXPECT_THAT(error_of([&] { ranks[1]->all_reduce(at::ones({3000}), ReduceOp::kSum, "b"); }),
              HasSubstr("ranks make different calls"));
  EXPECT_THROW(first.wait(), CommError);
}

TEST(Work, AnExceptionDoesNotWaitForPeers) {
  const auto ranks = make_thread_communicators(2, /*checked=*/false, /*timeout_s=*/1000);
  EXPECT_THROW(
      {
        Work work = ranks[0]->all_reduce(at::ones({2}), ReduceOp::kSum, "a");
        throw DataError("this rank has another problem");
      },
      DataError);
}

}  // namespace
}  // namespace muster
