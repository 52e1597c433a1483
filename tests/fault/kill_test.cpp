// kill -9 of a whole job under mpirun, at moments nobody chose, then the same command again: the finished run equals
// one that was never touched, bit for bit.
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/child_process.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_store.h"

namespace muster {
namespace {

constexpr char kConfig[] = R"(
model {
  preset: MINI
  image { width_pixels: 16 height_pixels: 16 width: 24 layers: 2 heads: 2 }
  text { context: 12 width: 24 layers: 1 heads: 2 }
  joint_width: 16
  dropout: 0.1
}
data { image { flip: true pad_crop: 2 } }
objective { term { info_nce { positives: IDENTITY } } term { weight: 0.5 sdm {} } }
train {
  global_batch: 8 steps: 60 seed: 5 threads: 1 log_every: 1
  schedule { warmup_steps: 4 }
  evaluation { every: 20 }
  checkpoint { every: 7 keep_last: 2 }
}
)";

std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

int64_t lines_of(const std::string& path) {
  const std::string text = bytes_of(path);
  return std::count(text.begin(), text.end(), '\n');
}

class KillTest : public testing::Test {
 protected:
  void SetUp() override {
    write_tiny_store(folder_ / "store", 20);
    std::ofstream(folder_ / "config.textproto") << kConfig;
  }

  std::vector<std::string> train_command(const std::string& run, int ranks) const {
    return under_mpirun(ranks, {muster_program(), "train", "--config", folder_ / "config.textproto", "--data",
                                folder_ / "store", "--run", folder_ / run});
  }

  void expect_same_end(const std::string& run) const {
    for (const char* file : {"model.safetensors", "optimizer.safetensors", "state.textproto"}) {
      const std::string path = std::string("/checkpoints/step_0000000060/") + file;
      ASSERT_TRUE(std::filesystem::exists(folder_ / (run + path)));
      EXPECT_EQ(bytes_of(folder_ / (run + path)), bytes_of(folder_ / ("unbroken" + path))) << run << ": " << file;
    }
  }

  TemporaryFolder folder_;
};

TEST_F(KillTest, KillNineOfTheWholeJobThenTheSameCommandEndsBitEqual) {
  const ProgramResult unbroken = run_program(train_command("unbroken", 2));
  ASSERT_EQ(unbroken.exit_code, 0) << unbroken.output;
  int kills = 0;
  for (const int64_t lines : {3, 9, 15, 21, 36, 50}) {
    ChildProcess job(train_command("killed", 2));
    const bool reached =
        job.wait_until([&] { return lines_of(folder_ / "killed/metrics.jsonl") >= lines; }, std::chrono::seconds(120));
    if (!reached) break;
    job.signal_all(SIGKILL);
    job.wait();
    ++kills;
  }
  EXPECT_GE(kills, 4);
  const ProgramResult last = run_program(train_command("killed", 2));
  ASSERT_EQ(last.exit_code, 0) << last.output;
  EXPECT_NE(last.output.find("continuing"), std::string::npos) << last.output;
  expect_same_end("killed");
}

TEST_F(KillTest, OneRankKilledEndsTheJobAndTheSameCommandEndsBitEqual) {
  ASSERT_EQ(run_program(train_command("unbroken", 2)).exit_code, 0);
  ChildProcess job(train_command("killed", 2));
  ASSERT_TRUE(
      job.wait_until([&] { return lines_of(folder_ / "killed/metrics.jsonl") >= 20; }, std::chrono::seconds(120)));
  const std::vector<pid_t> ranks = job.descendants(muster_program());
  ASSERT_EQ(ranks.size(), 2u);
  ASSERT_EQ(kill(ranks.back(), SIGKILL), 0);
  EXPECT_NE(job.wait().exit_code, 0);
  const ProgramResult last = run_program(train_command("killed", 2));
  ASSERT_EQ(last.exit_code, 0) << last.output;
  expect_same_end("killed");
}

TEST_F(KillTest, Usr1SavesAndStopsWith75AndTheSameCommandContinues) {
  ASSERT_EQ(run_program(train_command("unbroken", 2)).exit_code, 0);
  ChildProcess job(train_command("stopped", 2));
  ASSERT_TRUE(
      job.wait_until([&] { return lines_of(folder_ / "stopped/metrics.jsonl") >= 10; }, std::chrono::seconds(120)));
  kill(job.pid(), SIGUSR1);  // mpirun passes it on
  const ProgramResult stopped = job.wait();
  EXPECT_EQ(stopped.exit_code, 75) << stopped.output;
  EXPECT_EQ(run_program(train_command("stopped", 2)).exit_code, 0);
  expect_same_end("stopped");
}

TEST_F(KillTest, ARunFolderRemovedWhileTrainingIsMadeAnew) {
  std::vector<std::string> command = train_command("removed", 1);
  for (const char* setting : {"train.steps=400", "train.evaluation.every=0", "train.checkpoint.every=0"}) {
    command.insert(command.end(), {"--set", setting});
  }
  ChildProcess job(command);
  ASSERT_TRUE(
      job.wait_until([&] { return lines_of(folder_ / "removed/metrics.jsonl") >= 10; }, std::chrono::seconds(120)));
  std::filesystem::remove_all(folder_ / "removed");
  const ProgramResult result = job.wait();
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_NE(result.output.find("removed was removed while it was trained in"), std::string::npos) << result.output;
  const ProgramResult again = run_program(command);
  EXPECT_EQ(again.exit_code, 0) << again.output;
  EXPECT_NE(again.output.find("continuing"), std::string::npos) << again.output;
}

}  // namespace
}  // namespace muster
