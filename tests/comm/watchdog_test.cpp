// The watchdog, its board, and real jobs under mpirun in which a rank stops, stays away or aborts.
#include "comm/watchdog.h"

#include <ATen/ops/ones.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "comm/mpi_communicator.h"
#include "launch/error.h"
#include "tests/support/child_process.h"
#include "tests/support/test_process.h"

namespace muster {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// Shared memory for two boards of the same ranks, as two processes would have it.
class SharedBoard : public testing::Test {
 protected:
  SharedBoard() : fd_(memfd_create("board", 0)) {
    EXPECT_EQ(ftruncate(fd_, static_cast<off_t>(StatusBoard::size_for(3))), 0);
  }
  ~SharedBoard() override { close(fd_); }
  std::unique_ptr<StatusBoard> board() const { return std::make_unique<StatusBoard>(std::vector<int>{0, 1, 2}, fd_); }

 private:
  int fd_;
};

TEST_F(SharedBoard, ShowsWhatAnotherProcessWrote) {
  const auto mine = board();
  const auto theirs = board();
  RankStatus status;
  status.entered = 17;
  status.set_operation(std::string(500, 'x'));
  status.set_phase("evaluation");
  theirs->write(1, status);
  theirs->beat(1);
  EXPECT_EQ(mine->read(1).entered, 17);
  EXPECT_EQ(std::string(mine->read(1).operation), std::string(95, 'x'));
  EXPECT_STREQ(mine->read(1).phase, "evaluation");
  EXPECT_LT(mine->seconds_since_beat(1), 60);
  EXPECT_GT(mine->seconds_since_beat(2), mine->seconds_since_beat(1));
  EXPECT_EQ(mine->read(2).entered, 0);
}

TEST_F(SharedBoard, AReaderNeverSeesHalfAStatus) {
  const auto reader = board();
  const auto writer = board();
  std::atomic<bool> stop{false};
  std::thread thread([&] {
    for (int64_t i = 1; !stop; ++i) {
      RankStatus status;
      status.entered = i;
      status.bytes = i;
      status.step = i;
      writer->write(0, status);
      std::this_thread::yield();
    }
  });
  int64_t seen = 0;
  for (int i = 0; i < 20000; ++i) {
    const RankStatus status = reader->read(0);
    ASSERT_EQ(status.entered, status.bytes);
    ASSERT_EQ(status.entered, status.step);
    seen = std::max(seen, status.entered);
  }
  stop = true;
  thread.join();
  EXPECT_GE(reader->read(0).entered, seen);
}

TEST_F(SharedBoard, NamesTheRankThatLags) {
  const auto peers = board();
  const Watchdog watchdog({/*rank=*/0, /*world_size=*/3}, board());
  RankStatus here;
  here.pid = 11;
  here.entered = 9;
  peers->write(1, here);
  peers->beat(1);
  RankStatus behind = here;
  behind.pid = 22;
  behind.entered = 7;
  behind.set_operation("barrier 'epoch'");
  behind.set_phase("saving");
  peers->write(2, behind);
  peers->beat(2);
  EXPECT_THAT(watchdog.who_lags(9), AllOf(HasSubstr("rank 2 (pid 22) lags: alive, at call 7 barrier 'epoch'"),
                                          HasSubstr("saving"), Not(HasSubstr("rank 1"))));
  peers->write(2, here);
  EXPECT_THAT(watchdog.who_lags(9), HasSubstr("every rank has called it"));
}

TEST_F(SharedBoard, NamesARankWithoutSignOfLifeEvenIfItHasCalled) {
  const auto peers = board();
  const Watchdog watchdog({/*rank=*/0, /*world_size=*/3}, board());
  RankStatus status;
  status.entered = 9;
  peers->write(1, status);
  peers->beat(1);
  peers->write(2, status);  // never a sign of life
  EXPECT_THAT(watchdog.who_lags(9), AllOf(HasSubstr("rank 2"), HasSubstr("no sign of life"), Not(HasSubstr("rank 1"))));
}

TEST(Watchdog, OtherHostsAreNotGuessedAt) {
  const Watchdog watchdog({/*rank=*/4, /*world_size=*/8}, std::make_unique<StatusBoard>(std::vector<int>{4}));
  EXPECT_THAT(watchdog.who_lags(1), HasSubstr("on another host"));
}

TEST(Watchdog, DeadlinesFollowPhasesAndSteps) {
  WatchdogOptions options;
  options.first_timeout_s = 600;
  options.timeout_s = 15;
  Watchdog watchdog(options, std::make_unique<StatusBoard>(std::vector<int>{0}));
  EXPECT_EQ(watchdog.call_timeout(), 600);
  watchdog.set_phase("training", 0);
  EXPECT_EQ(watchdog.call_timeout(), 600);
  watchdog.step_done(1);
  EXPECT_EQ(watchdog.call_timeout(), 15);  // steps of this test take no time
  watchdog.set_phase("evaluation", 1800);
  EXPECT_EQ(watchdog.call_timeout(), 1800);
  watchdog.set_phase("training", 0);
  EXPECT_EQ(watchdog.call_timeout(), 15);
  watchdog.set_timeout(3);
  EXPECT_EQ(watchdog.call_timeout(), 3);
  watchdog.step_done(2);
  EXPECT_EQ(watchdog.call_timeout(), 15);
  EXPECT_THAT(watchdog.whereabouts(),
              AllOf(HasSubstr("rank 0"), HasSubstr(host_name()), HasSubstr("step 2, training")));
}

TEST(Watchdog, AStepThatTakesLongerGetsLonger) {
  WatchdogOptions options;
  options.timeout_s = 0;
  Watchdog watchdog(options, std::make_unique<StatusBoard>(std::vector<int>{0}));
  watchdog.set_phase("training", 0);
  const auto began = std::chrono::steady_clock::now();
  const std::chrono::duration<double> step(0.02);
  while (std::chrono::steady_clock::now() - began < step) {
  }
  watchdog.step_done(1);
  EXPECT_GE(watchdog.call_timeout(), 5 * step.count());
}

// ---- Jobs. Each DISABLED_ case is what the ranks of a job do; the test below it starts this program under mpirun.

ProgramResult run_job(int ranks, const std::string& job) {
  return run_program(under_mpirun(ranks, {MUSTER_BINARY_DIR "/comm_test", "--gtest_also_run_disabled_tests",
                                          "--gtest_filter=Job.DISABLED_" + job}));
}

bool in_a_job() {
  return test_process().world_size() > 1;
}

std::unique_ptr<Communicator> impatient_communicator(double timeout_s) {
  MpiOptions options;
  options.first_timeout_s = timeout_s;
  options.tick_s = 0.05;
  return make_mpi_communicator(options);
}

[[noreturn]] void stay_away() {
  for (;;) pause();
}

// What main() does with an error.
void run_as_main(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    fprintf(stderr, "main: %s\n", error.what());
    test_process().abort(static_cast<int>(error.exit_code()));
  }
}

void sum_with_one_rank(const std::function<void()>& misbehave) {
  if (!in_a_job()) GTEST_SKIP() << "a job for mpirun";
  run_as_main([&] {
    const auto c = impatient_communicator(0.6);
    c->set_phase("training", 100);
    c->set_timeout(0.6);
    c->barrier("begin");
    if (c->rank() == 1) misbehave();
    c->all_reduce(at::ones({1000}), ReduceOp::kSum, "loss").wait();
  });
}

TEST(Job, DISABLED_OneRankStaysAway) {
  sum_with_one_rank(stay_away);
}
TEST(WatchdogJob, ARankThatStaysAwayIsNamedAndTheJobEndsWith76) {
  const ProgramResult result = run_job(3, "OneRankStaysAway");
  EXPECT_EQ(result.exit_code, 76);
  EXPECT_THAT(result.output, AllOf(HasSubstr("all_reduce 'loss' sum Float [1000], 4000 bytes, is not finished"),
                                   HasSubstr("rank 1 (pid "), HasSubstr("alive, at call 1 barrier 'begin'"),
                                   Not(HasSubstr("rank 2 (pid "))));
}

TEST(Job, DISABLED_OneRankIsStopped) {
  sum_with_one_rank([] { raise(SIGSTOP); });
}
TEST(WatchdogJob, AStoppedRankIsNamedAndTheJobEndsWith76) {
  const ProgramResult result = run_job(3, "OneRankIsStopped");
  EXPECT_EQ(result.exit_code, 76);
  EXPECT_THAT(result.output, AllOf(HasSubstr("all_reduce 'loss'"), HasSubstr("rank 1 (pid "),
                                   HasSubstr("lags: no sign of life for"), Not(HasSubstr("rank 2 (pid "))));
}

TEST(Job, DISABLED_NobodyWaits) {
  if (!in_a_job()) GTEST_SKIP() << "a job for mpirun";
  const auto c = impatient_communicator(0.3);
  if (c->rank() == 1) stay_away();
  const Work work = c->all_reduce(at::ones({1000}), ReduceOp::kSum, "loss");
  stay_away();  // stuck elsewhere: no wait() could see the deadline
}
TEST(WatchdogJob, EndsARankThatIsStuckElsewhere) {
  const ProgramResult result = run_job(2, "NobodyWaits");
  EXPECT_EQ(result.exit_code, 76);
  EXPECT_THAT(result.output, AllOf(HasSubstr("all_reduce 'loss'"), HasSubstr("rank 1 (pid ")));
}

TEST(Job, DISABLED_APhaseTakesTooLong) {
  if (!in_a_job()) GTEST_SKIP() << "a job for mpirun";
  const auto c = impatient_communicator(100);
  c->barrier("begin");
  c->set_phase("evaluation", 0.2);
  stay_away();
}
TEST(WatchdogJob, EndsAPhaseThatTakesTooLong) {
  const ProgramResult result = run_job(2, "APhaseTakesTooLong");
  EXPECT_EQ(result.exit_code, 76);
  EXPECT_THAT(result.output,
              AllOf(HasSubstr("evaluation"), HasSubstr("no progress for"), HasSubstr("barrier 'begin'")));
}

TEST(Job, DISABLED_OneRankAborts) {
  if (!in_a_job()) GTEST_SKIP() << "a job for mpirun";
  const auto c = impatient_communicator(100);
  if (c->rank() == 1) c->abort(77, "the loss is not finite at step 3");
  c->barrier("never");
}
TEST(WatchdogJob, AbortEndsTheJobWithItsCodeAndReason) {
  const ProgramResult result = run_job(2, "OneRankAborts");
  EXPECT_EQ(result.exit_code, 77);
  EXPECT_THAT(result.output, HasSubstr("the loss is not finite at step 3"));
}

TEST(Job, DISABLED_WaitsForAFile) {
  if (!in_a_job()) GTEST_SKIP() << "a job for mpirun";
  const std::filesystem::path folder = std::getenv("MUSTER_TEST_FOLDER");
  run_as_main([&] {
    const auto c = impatient_communicator(4);
    if (c->rank() == 1) {
      std::ofstream(folder / "ready") << "ready";
      while (!std::filesystem::exists(folder / "go")) usleep(1000);
    }
    c->barrier("after the pause");
  });
}
TEST(SlowWatchdogJob, TimeInWhichTheWholeJobWasSuspendedDoesNotCount) {
  const auto folder = std::filesystem::path(testing::TempDir()) / ("muster-suspend-" + std::to_string(getpid()));
  std::filesystem::create_directory(folder);
  setenv("MUSTER_TEST_FOLDER", folder.c_str(), 1);
  ChildProcess job(under_mpirun(2, {MUSTER_BINARY_DIR "/comm_test", "--gtest_also_run_disabled_tests",
                                    "--gtest_filter=Job.DISABLED_WaitsForAFile"}));
  ASSERT_TRUE(job.wait_until([&] { return std::filesystem::exists(folder / "ready"); }, std::chrono::seconds(30)));
  job.signal_all(SIGSTOP);
  std::this_thread::sleep_for(std::chrono::seconds(7));
  std::ofstream(folder / "go") << "go";
  job.signal_all(SIGCONT);
  const ProgramResult result = job.wait();
  EXPECT_EQ(result.exit_code, 0) << result.output;
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace muster
