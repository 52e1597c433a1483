// Jobs over NCCL in which a rank stays away: the other ends in time and says who. Each DISABLED_ case is what the ranks
// of a job do; the test below it starts this program under mpirun.
#include <ATen/ops/ones.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include "launch/error.h"
#include "tests/gpu/gpu_rank.h"
#include "tests/support/child_process.h"

namespace muster {
namespace {

using testing::AllOf;
using testing::HasSubstr;

ProgramResult run_job(const std::string& job) {
  return run_program(under_mpirun(2, {MUSTER_BINARY_DIR "/gpu_lost_peer_test", "--gtest_also_run_disabled_tests",
                                      "--gtest_filter=Job.DISABLED_" + job}));
}

// `before`: sums that succeed, so that the ranks are connected, or not yet.
void one_rank_stays_away(int before) {
  if (test_process().world_size() == 1) GTEST_SKIP() << "a job for mpirun";
  try {
    const auto c = nccl_communicator(/*checked=*/false, /*timeout_s=*/60, /*tick_s=*/0.05);
    const at::Tensor x = at::ones({100000}, at::TensorOptions(at::kFloat).device(gpu_of_this_rank()));
    for (int i = 0; i < before; ++i) c->all_reduce(x, ReduceOp::kSum, "warm").wait();
    x.cpu();
    c->set_timeout(1);
    if (c->rank() == 1) {
      for (;;) pause();
    }
    c->all_reduce(x, ReduceOp::kSum, "loss").wait();
    x.cpu();  // waits for the GPU, for ever
  } catch (const Error& error) {
    fprintf(stderr, "main: %s\n", error.what());
    test_process().abort(static_cast<int>(error.exit_code()));
  }
}

TEST(Job, DISABLED_ConnectedRankStaysAway) {
  one_rank_stays_away(3);
}
TEST(Job, DISABLED_RankStaysAwayBeforeItWasConnected) {
  one_rank_stays_away(0);
}

class LostPeer : public testing::TestWithParam<const char*> {};

INSTANTIATE_TEST_SUITE_P(Jobs, LostPeer, testing::Values("ConnectedRankStaysAway", "RankStaysAwayBeforeItWasConnected"),
                         [](const auto& job) { return std::string(job.param); });

TEST_P(LostPeer, EndsTheJobWith76AndIsNamed) {
  MUSTER_NEEDS_A_GPU();
  const ProgramResult result = run_job(GetParam());
  EXPECT_EQ(result.exit_code, 76) << result.output;
  EXPECT_THAT(result.output, AllOf(HasSubstr("all_reduce 'loss' sum Float [100000], 400000 bytes, is not finished"),
                                   HasSubstr("rank 1 (pid ")));
}

}  // namespace
}  // namespace muster
