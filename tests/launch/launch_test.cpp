// Log, signals and process: what they print and how they end, each in a process of its own.
#include <gmock/gmock.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <future>
#include <thread>

#include "launch/exit_codes.h"
#include "launch/log.h"
#include "launch/process.h"
#include "launch/signals.h"
#include "tests/support/child_process.h"
#include "tests/support/test_process.h"

namespace muster {
namespace {

using testing::ExitedWithCode;
using testing::HasSubstr;
using testing::KilledBySignal;
using testing::Not;

LogOptions options_of(int rank, int world_size, bool all_ranks = false) {
  LogOptions options;
  options.rank = rank;
  options.world_size = world_size;
  options.all_ranks = all_ranks;
  return options;
}

// Leaves at once, as the watchdog does: no line may be lost even then.
TEST(Log, BeforeTheStartLinesAreUnadorned) {
  EXPECT_EXIT((log_info("hello"), _exit(0)), ExitedWithCode(0), "^hello\n$");
}

TEST(Log, AWorldOfOneNamesNoRank) {
  EXPECT_EXIT((start_logging(options_of(0, 1)), log_info("step 1"), _exit(0)), ExitedWithCode(0),
              "^I [0-9][0-9]:[0-9][0-9]:[0-9][0-9] step 1\n$");
}

TEST(Log, RanksNameThemselves) {
  EXPECT_EXIT((start_logging(options_of(3, 4)), log_error("lost"), _exit(0)), ExitedWithCode(0),
              "^E [0-9:]+ .rank 3. lost\n$");
}

TEST(Log, OnlyRankZeroPrintsInformation) {
  EXPECT_EXIT((start_logging(options_of(1, 2)), log_info("quiet"), log_warning("loud"), _exit(0)), ExitedWithCode(0),
              "^W [0-9:]+ .rank 1. loud\n$");
  EXPECT_EXIT((start_logging(options_of(1, 2, true)), log_info("asked for"), _exit(0)), ExitedWithCode(0),
              "^I [0-9:]+ .rank 1. asked for\n$");
}

TEST(Log, StartingTwiceTakesTheLaterOptions) {
  EXPECT_EXIT((start_logging(options_of(0, 1)), start_logging(options_of(0, 2)), log_info("x"), _exit(0)),
              ExitedWithCode(0), "^I [0-9:]+ .rank 0. x\n$");
}

TEST(Log, ACallIsOneLine) {
  EXPECT_EXIT((start_logging(options_of(0, 1)), log_warning("first\nsecond\n"), _exit(0)), ExitedWithCode(0),
              "^W [0-9:]+ first second\n$");
}

class Signals : public testing::Test {
 protected:
  ~Signals() override {
    signal(SIGUSR1, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    clear_stop_request();
  }
};

TEST_F(Signals, Usr1AsksForAStop) {
  install_signal_handlers(/*world_of_one=*/false);
  EXPECT_FALSE(stop_requested());
  raise(SIGUSR1);
  EXPECT_TRUE(stop_requested());
  clear_stop_request();
  EXPECT_FALSE(stop_requested());
  raise(SIGUSR1);
  EXPECT_TRUE(stop_requested());
}

// As where a rank gets it from mpirun and directly.
TEST_F(Signals, Usr1TwiceInAMomentIsOneRequest) {
  install_signal_handlers(/*world_of_one=*/false);
  raise(SIGUSR1);
  raise(SIGUSR1);
  EXPECT_TRUE(stop_requested());
}

TEST_F(Signals, TheSecondInterruptEndsAWorldOfOne) {
  install_signal_handlers(/*world_of_one=*/true);
  raise(SIGINT);
  EXPECT_TRUE(stop_requested());
  EXPECT_EXIT(raise(SIGINT), KilledBySignal(SIGINT), "");
}

TEST_F(Signals, PeersAreEndedByInterruptAndTerminate) {
  EXPECT_EXIT((install_signal_handlers(false), raise(SIGINT)), KilledBySignal(SIGINT), "");
  EXPECT_EXIT((install_signal_handlers(true), raise(SIGTERM)), KilledBySignal(SIGTERM), "");
}

TEST_F(Signals, AServerIsToldOnceToStop) {
  for (const int signal : {SIGINT, SIGTERM}) {
    std::promise<std::thread::id> told;
    {
      const StopOnSignal stop([&] { told.set_value(std::this_thread::get_id()); });
      raise(signal);
      EXPECT_NE(told.get_future().get(), std::this_thread::get_id());
    }
    EXPECT_EXIT(raise(signal), KilledBySignal(signal), "");  // as before
  }
  EXPECT_EXIT(
      {
        const StopOnSignal stop([] {});
        raise(SIGTERM);
        raise(SIGTERM);
      },
      KilledBySignal(SIGTERM), "");
  bool called = false;
  {
    const StopOnSignal stop([&] { called = true; });
  }
  EXPECT_FALSE(called);
}

TEST(Process, IsAWorldOfOneWithoutALauncher) {
  Process process(nullptr, nullptr);
  EXPECT_EQ(process.rank(), 0);
  EXPECT_EQ(process.world_size(), 1);
  EXPECT_EQ(process.local_size(), 1);
  EXPECT_FALSE(process.has_mpi());
}

TEST(Process, FixesTheBitsOfMatrixProductsUnlessTold) {
  unsetenv("MKL_CBWR");
  { const Process process(nullptr, nullptr); }
  ASSERT_NE(std::getenv("MKL_CBWR"), nullptr);
  const std::string chosen = std::getenv("MKL_CBWR");
  EXPECT_TRUE(chosen == "AVX512,STRICT" || chosen == "AVX2,STRICT" || chosen == "COMPATIBLE") << chosen;
  setenv("MKL_CBWR", "AUTO", 1);
  { const Process process(nullptr, nullptr); }
  EXPECT_STREQ(std::getenv("MKL_CBWR"), "AUTO");
  setenv("MKL_CBWR", chosen.c_str(), 1);
}

TEST(Process, RefusesCopiesThatCannotFindEachOther) {
  EXPECT_EXIT((setenv("SLURM_STEP_NUM_TASKS", "4", 1), Process(nullptr, nullptr)), ExitedWithCode(2),
              "^muster: srun started several ranks .*--mpi=pmix\n$");
}

TEST(Process, AbortEndsWithItsCode) {
  EXPECT_EXIT(Process(nullptr, nullptr).abort(75), ExitedWithCode(75), "");
}

// Jobs: each DISABLED_ case is what the ranks do under mpirun.
ProgramResult run_job(int ranks, const std::string& job) {
  return run_program(under_mpirun(ranks, {MUSTER_BINARY_DIR "/launch_test", "--gtest_also_run_disabled_tests",
                                          "--gtest_filter=Job.DISABLED_" + job}));
}

TEST(Job, DISABLED_PrintsItsPlace) {
  const Process& process = test_process();
  fprintf(stderr, "place %d/%d local %d/%d mpi %d.\n", process.rank(), process.world_size(), process.local_rank(),
          process.local_size(), process.has_mpi());
}
TEST(ProcessJob, EveryRankHasItsPlace) {
  const ProgramResult result = run_job(3, "PrintsItsPlace");
  EXPECT_EQ(result.exit_code, 0);
  for (int r = 0; r < 3; ++r) {
    const std::string rank = std::to_string(r);
    EXPECT_THAT(result.output, HasSubstr("place " + rank + "/3 local " + rank + "/3 mpi 1."));
  }
}

// Rank 1 never comes to MPI_Finalize.
TEST(Job, DISABLED_AnExceptionPassesTheProcess) {
  if (test_process().world_size() == 1) GTEST_SKIP() << "a job for mpirun";
  if (test_process().rank() == 1) pause();
  struct Leave {
    ~Leave() { test_process().~Process(); }
  };
  try {
    const Leave leave;
    throw 1;
  } catch (int) {
    fprintf(stderr, "the process was finalised\n");
  }
}
TEST(ProcessJob, LeavingOnAnExceptionEndsTheJobInsteadOfWaiting) {
  const ProgramResult result = run_job(2, "AnExceptionPassesTheProcess");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.output, HasSubstr("rank 0 leaves on an exception"));
  EXPECT_THAT(result.output, Not(HasSubstr("was finalised")));
}

}  // namespace
}  // namespace muster
