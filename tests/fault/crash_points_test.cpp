// A fault at every change that a job makes in its run folder: the whole of one save, the metrics around it, the removal
// of an old checkpoint. libdisk_fault.so (disk_fault.cpp) makes the faults under the real command.
//
// After each: the checkpoint before is as it was, byte by byte; a whole one loads, without a damaged one being met;
// what the job says holds the system's reason, in one line; and the same command ends with the bits of the unbroken
// run.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/child_process.h"
#include "tests/support/file_bytes.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_store.h"
#include "trainer/checkpoint.h"

namespace muster {
namespace {

namespace fs = std::filesystem;
using testing::AnyOf;
using testing::HasSubstr;
using testing::Not;

constexpr char kConfig[] = R"(
model {
  preset: MINI
  image { width_pixels: 16 height_pixels: 16 width: 24 layers: 1 heads: 2 }
  text { context: 12 width: 24 layers: 1 heads: 2 }
  joint_width: 16
}
objective { term { info_nce { positives: IDENTITY } } }
train {
  global_batch: 8 steps: 6 seed: 5 threads: 1 log_every: 1
  evaluation { every: 0 }
  checkpoint { every: 2 keep_last: 2 }
}
)";
constexpr char kBefore[] = "step_0000000004", kEnd[] = "step_0000000006";

struct Fault {
  int rank = 0;
  int call = 0;      // among those of the same line
  std::string what;  // "write checkpoints/..."
  std::string kind;
};

bool ends_process(const std::string& kind) {
  return kind == "exit" || kind == "power";
}

std::vector<std::string> kinds_of(const std::string& what) {
  const std::string call = what.substr(0, what.find(' '));
  if (call == "write") return {"EIO", "ENOSPC", "short", "exit", "power"};
  if (call == "close" || call == "unlink") return {"EIO", "exit", "power"};
  return {"EIO", "ENOSPC", "exit", "power"};
}

// A fault of which a job need not speak: what fails is no more needed. Old checkpoints that stay are spoken of.
bool may_be_silent(const Fault& fault) {
  return fault.kind == "short" || ends_process(fault.kind) || fault.what.rfind("close ", 0) == 0 ||
         fault.what.rfind("unlink ", 0) == 0;
}

class CrashPointsTest : public testing::TestWithParam<int> {
 protected:
  CrashPointsTest() {
    write_tiny_store(folder_ / "store", 12);
    std::ofstream(folder_ / "config.textproto") << kConfig
                                                << (ranks_ > 1 ? R"(
references { fusion_weight: 1 guidance_weight: 1 placement: SHARDED }
)"
                                                               : "");
  }

  std::vector<std::string> train(const std::string& run, const std::vector<std::string>& faulty = {},
                                 const std::vector<std::string>& more = {}) const {
    std::vector<std::string> command = {"env"};
    command.insert(command.end(), faulty.begin(), faulty.end());
    command.insert(command.end(), {muster_program(), "train", "--config", folder_ / "config.textproto", "--data",
                                   folder_ / "store", "--run", folder_ / run});
    command.insert(command.end(), more.begin(), more.end());
    return ranks_ == 1 ? command : under_mpirun(ranks_, command);
  }

  std::vector<std::string> on_faulty_disk(const std::string& run, int rank) const {
    std::vector<std::string> environment = {"LD_PRELOAD=" MUSTER_BINARY_DIR "/libdisk_fault.so",
                                            "DISK_FAULT_UNDER=" + fs::canonical(folder_.path()).string() + "/" + run};
    if (ranks_ > 1) environment.push_back("DISK_FAULT_RANK=" + std::to_string(rank));
    return environment;
  }

  void copy_base(const std::string& run) const {
    fs::remove_all(folder_ / run);
    fs::copy(folder_ / "base", folder_ / run, fs::copy_options::recursive);
  }

  // The unbroken run, and one that stands after step 4.
  void prepare() {
    const ProgramResult unbroken = run_program(train("unbroken"));
    ASSERT_EQ(unbroken.exit_code, 0) << unbroken.output;
    ASSERT_EQ(run_program(train("base", {}, {"--stop-after", "4"})).exit_code, 75);
  }

  // What this rank of a job in this folder calls.
  std::vector<std::string> count_calls(const std::string& run, int rank) const {
    std::vector<std::string> counted = on_faulty_disk(run, rank);
    const std::string log = folder_ / "calls" + std::to_string(rank);
    fs::remove(log);
    counted.push_back("DISK_FAULT_LOG=" + log);
    const ProgramResult result = run_program(train(run, counted));
    EXPECT_EQ(result.exit_code, 0) << result.output;
    std::vector<std::string> calls;
    std::ifstream lines(log);
    for (std::string what; std::getline(lines, what);) calls.push_back(what);
    fs::remove_all(folder_ / run);
    return calls;
  }

  // All faults of all calls of the job that goes on from there.
  std::vector<Fault> faults() const {
    std::vector<Fault> faults;
    for (int rank = 0; rank < ranks_; ++rank) {
      copy_base("counted");
      const std::vector<std::string> calls = count_calls("counted", rank);
      std::map<std::string, int> before;
      for (const std::string& what : calls) {
        const int call = before[what]++;
        for (const std::string& kind : kinds_of(what)) faults.push_back({rank, call, what, kind});
      }
    }
    return faults;
  }

  void expect_same(const std::string& one, const std::string& other) const {
    for (const auto& entry : fs::directory_iterator(folder_ / other)) {
      const std::string name = entry.path().filename();
      ASSERT_TRUE(fs::exists(folder_ / (one + "/" + name))) << name;
      EXPECT_EQ(read_bytes(folder_ / (one + "/" + name)), read_bytes(entry.path())) << name;
    }
  }

  void expect_survives(const Fault& fault) const {
    SCOPED_TRACE(fault.kind + " at call " + std::to_string(fault.call) + " of rank " + std::to_string(fault.rank) +
                 ": " + fault.what);
    copy_base("run");
    std::vector<std::string> faulty = on_faulty_disk("run", fault.rank);
    faulty.insert(faulty.end(), {"DISK_FAULT_WHAT=" + fault.what, "DISK_FAULT_CALL=" + std::to_string(fault.call),
                                 "DISK_FAULT_KIND=" + fault.kind});
    const ProgramResult broken = run_program(train("run", faulty));
    if (ends_process(fault.kind)) {
      EXPECT_EQ(broken.exit_code, 137) << broken.output;
    } else if (fault.kind == "short") {
      EXPECT_EQ(broken.exit_code, 0) << broken.output;
    } else {
      EXPECT_THAT(broken.exit_code, AnyOf(0, 2)) << broken.output;
      const char* reason = fault.kind == "EIO" ? "Input/output error" : "No space left on device";
      if (!may_be_silent(fault)) {
        EXPECT_THAT(broken.output, HasSubstr(reason));
      }
    }
    expect_same(std::string("run/checkpoints/") + kBefore, std::string("base/checkpoints/") + kBefore);
    testing::internal::CaptureStderr();
    const auto snapshot = CheckpointStore(folder_ / "run", CheckpointConfig()).load_newest();
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
    ASSERT_TRUE(snapshot);
    EXPECT_THAT(snapshot->state.step(), AnyOf(4, 6));
    if (broken.exit_code == 0) {
      EXPECT_EQ(snapshot->state.step(), 6);
    }
    const ProgramResult again = run_program(train("run"));
    EXPECT_EQ(again.exit_code, 0) << again.output;
    EXPECT_THAT(again.output, Not(HasSubstr("damaged, trying")));
    expect_same(std::string("run/checkpoints/") + kEnd, std::string("unbroken/checkpoints/") + kEnd);
  }

  void walk(size_t every) {
    prepare();
    if (HasFatalFailure()) return;
    const std::vector<Fault> all = faults();
    ASSERT_GT(all.size(), 100U);
    size_t walked = 0, good = 0;
    std::map<std::string, int> calls;
    for (size_t i = every / 2; i < all.size(); i += every) {
      const int failures_before = failures();
      expect_survives(all[i]);
      ++walked;
      ++calls[all[i].what.substr(0, all[i].what.find(' '))];
      if (failures() == failures_before) ++good;
    }
    std::string list;
    for (const auto& [call, count] : calls) list += " " + call + " " + std::to_string(count);
    std::printf("%d rank(s), faults by call:%s\n%zu of %zu points: a valid checkpoint loads\n", ranks_, list.c_str(),
                good, walked);
  }

  static int failures() { return testing::UnitTest::GetInstance()->current_test_info()->result()->total_part_count(); }

  const int ranks_ = GetParam();
  TemporaryFolder folder_;
};

// Of the first of three saves: it is missing, and one line says why.
TEST_P(CrashPointsTest, AFailedSaveEndsNothing) {
  const ProgramResult unbroken = run_program(train("unbroken"));
  ASSERT_EQ(unbroken.exit_code, 0) << unbroken.output;
  for (int rank = 0; rank < ranks_; ++rank) {
    const std::vector<std::string> calls = count_calls("counted", rank);
    const auto write = std::find_if(calls.begin(), calls.end(), [](const std::string& what) {
      return what.rfind("write checkpoints/step_0000000002.partial/", 0) == 0;
    });
    ASSERT_NE(write, calls.end());
    fs::remove_all(folder_ / "run");
    std::vector<std::string> faulty = on_faulty_disk("run", rank);
    faulty.insert(faulty.end(), {"DISK_FAULT_WHAT=" + *write, "DISK_FAULT_CALL=0", "DISK_FAULT_KIND=EIO"});
    const ProgramResult broken = run_program(train("run", faulty));
    EXPECT_EQ(broken.exit_code, 0) << broken.output;
    EXPECT_THAT(broken.output, testing::ContainsRegex("\nE [^\n]*: Input/output error[^\n]*; training goes on\n"));
    EXPECT_EQ(broken.output.find("\nE "), broken.output.rfind("\nE ")) << broken.output;
    EXPECT_FALSE(fs::exists(folder_ / "run/checkpoints/step_0000000002"));
    expect_same(std::string("run/checkpoints/") + kEnd, std::string("unbroken/checkpoints/") + kEnd);
    expect_same(std::string("run/checkpoints/") + kBefore, std::string("unbroken/checkpoints/") + kBefore);
  }
}

// The kinds and calls take turns: some of each.
TEST_P(CrashPointsTest, SomePoints) {
  walk(GetParam() == 1 ? 23 : 61);
}

TEST_P(CrashPointsTest, EveryPointSlow) {
  walk(1);
}

INSTANTIATE_TEST_SUITE_P(Ranks, CrashPointsTest, testing::Values(1, 2),
                         [](const auto& parameter) { return parameter.param == 1 ? "Alone" : "TwoRanks"; });

}  // namespace
}  // namespace muster
