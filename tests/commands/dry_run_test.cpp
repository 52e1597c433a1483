// `muster train --dry-run` as a user meets it: what it prints, what it leaves alone, and whether ranks that really run
// send the bytes that it says, as Open MPI's own monitoring counts them.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
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
#include "trainer/encoders/model_config.h"
#include "trainer/step_cost.h"

namespace muster {
namespace {

namespace fs = std::filesystem;
using testing::ContainsRegex;

constexpr int kRanks = 3;
constexpr int64_t kTrained = 8;  // of 12 identities

RunSettings settings() {
  RunSettings settings;
  ModelConfig& model = settings.model;
  model.set_preset(ModelConfig::MINI);
  model.mutable_image()->set_width_pixels(16);
  model.mutable_image()->set_height_pixels(16);
  model.mutable_image()->set_width(24);
  model.mutable_image()->set_layers(1);
  model.mutable_image()->set_heads(2);
  model.mutable_text()->set_context(12);
  model.mutable_text()->set_width(24);
  model.mutable_text()->set_layers(1);
  model.mutable_text()->set_heads(2);
  model.set_joint_width(16);
  model = resolve_model(model);
  settings.objective.add_term()->mutable_info_nce();
  settings.objective.add_term()->mutable_triplet();
  settings.references.set_fusion_weight(1);
  settings.references.set_guidance_weight(1);
  settings.references.set_guidance_ramp_epochs(0);
  settings.references.set_placement(ReferencesConfig::SHARDED);
  settings.train.set_global_batch(13);
  settings.train.set_steps(2);
  settings.train.set_threads(1);
  return settings;
}

class DryRunTest : public testing::Test {
 protected:
  void SetUp() override {
    write_tiny_store(folder_ / "store", 12);
    const RunSettings run = settings();
    std::ofstream(folder_ / "config.textproto")
        << fmt::format("model {{ {} }} objective {{ {} }} references {{ {} }} train {{ {} }}", run.model.DebugString(),
                       run.objective.DebugString(), run.references.DebugString(), run.train.DebugString());
  }

  std::vector<std::string> train(std::vector<std::string> more) const {
    std::vector<std::string> argv = {muster_program(), "train",           "--config", folder_ / "config.textproto",
                                     "--data",         folder_ / "store", "--set",    "train.log_every=1000"};
    argv.insert(argv.end(), more.begin(), more.end());
    return argv;
  }

  // Bytes and messages that each rank of a run of so many steps sent to the others, from start to end.
  std::vector<Traffic> monitored(int steps) const {
    const std::string name = fmt::format("{}/sent{}", folder_.path(), steps);
    std::vector<std::string> argv = under_mpirun(
        kRanks, train({"--run", folder_ / fmt::format("run{}", steps), "--set", fmt::format("train.steps={}", steps)}));
    const std::vector<std::string> monitor = {"--mca", "pml_monitoring_enable",        "2",
                                              "--mca", "pml_monitoring_enable_output", "3",
                                              "--mca", "pml_monitoring_filename",      name};
    argv.insert(argv.begin() + 1, monitor.begin(), monitor.end());
    const ProgramResult result = run_program(argv);
    EXPECT_EQ(result.exit_code, 0) << result.output;
    std::vector<Traffic> sent;
    for (int rank = 0; rank < kRanks && fs::exists(fmt::format("{}.{}.prof", name, rank)); ++rank) {
      sent.emplace_back();
      std::ifstream file(fmt::format("{}.{}.prof", name, rank));
      for (std::string line; std::getline(file, line);) {
        std::istringstream words(line);
        std::string kind, unit;
        int from = 0, to = 0;
        int64_t bytes = 0, messages = 0;
        if (!(words >> kind >> from >> to >> bytes >> unit >> messages) || (kind != "I" && kind != "E")) continue;
        sent.back() += {0, bytes, messages};
      }
    }
    return sent;
  }

  TemporaryFolder folder_;
};

TEST_F(DryRunTest, RanksSendTheBytesThatItSays) {
  const std::vector<Traffic> few = monitored(2), more = monitored(6);
  if (few.size() != kRanks) GTEST_SKIP() << "this MPI has no pml monitoring";
  for (int rank = 0; rank < kRanks; ++rank) {
    StepJob job;
    job.settings = settings();
    job.world = kRanks;
    job.caption_tokens = 12;
    job.identities = kTrained;
    Traffic step;
    for (const StepCall& call : step_calls(job, rank)) {
      EXPECT_FALSE(call.is_bound);
      step += call.traffic;
    }
    const auto i = static_cast<size_t>(rank);
    EXPECT_EQ(more[i].sent - few[i].sent, 4 * step.sent) << "rank " << rank;
    EXPECT_EQ(more[i].messages - few[i].messages, 4 * step.messages) << "rank " << rank;
  }
}

// Names, sizes and times of all files.
std::map<std::string, std::string> picture_of(const std::string& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const auto time = fs::last_write_time(entry).time_since_epoch().count();
    files[entry.path()] = fmt::format("{} {}", entry.is_regular_file() ? entry.file_size() : 0, time);
  }
  return files;
}

TEST_F(DryRunTest, PrintsAJobAndLeavesEverythingAlone) {
  const std::vector<std::string> dry = {"--dry-run", "--world", "8", "--flops", "0.1"};
  const auto before = picture_of(folder_.path());
  const ProgramResult alone = run_program(train(dry));
  EXPECT_EQ(alone.exit_code, 0) << alone.output;
  EXPECT_EQ(picture_of(folder_.path()), before);
  for (const char* line : {"dry run of 8 ranks: 13 pairs a step, 2 on rank 0",
                           "references, sharded +[0-9.]+  exact +1 rows", "traffic of rank 0", "agreement +4 ",
                           "encoders, forward", "1 +13 .* 100.0 %", "8 +2 ", "this job", "2 steps of 1 an epoch"}) {
    EXPECT_THAT(alone.output, ContainsRegex(line)) << alone.output;
  }
  ASSERT_EQ(run_program(train({"--run", folder_ / "run"})).exit_code, 0);
  const auto trained = picture_of(folder_.path());
  std::vector<std::string> again = dry;
  again.insert(again.end(), {"--run", folder_ / "run"});
  EXPECT_EQ(run_program(train(again)).output, alone.output);
  EXPECT_EQ(run_program(under_mpirun(2, train(again))).output, alone.output);  // rank 0 speaks
  EXPECT_EQ(picture_of(folder_.path()), trained);
}

}  // namespace
}  // namespace muster
