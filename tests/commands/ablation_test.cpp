// launch/ablation.sh on runs of two steps: which variants it trains, with what, and how it goes on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/commands/trained_run.h"

namespace muster {
namespace {

using testing::HasSubstr;
using testing::Not;

class AblationTest : public TrainedRunTest {
 protected:
  static std::string config() { return std::filesystem::path(run()).parent_path() / "config.textproto"; }

  ProgramResult ablation(const std::vector<std::string>& more) const {
    std::vector<std::string> argv = {"env", "MUSTER=" + muster_program(), MUSTER_SOURCE_DIR "/launch/ablation.sh"};
    argv.insert(argv.end(), {"--config", config(), "--data", store(), "--out", folder_ / "out", "--ranks", "1"});
    argv.insert(argv.end(), {"--variants", folder_ / "x.variants", "--set", "train.steps=2"});
    argv.insert(argv.end(), more.begin(), more.end());
    return run_program(argv);
  }
  std::string config_of(const std::string& run) const {
    return read_text(folder_ / "out/" + run + "/config.textproto");
  }
  void write(const std::string& variants) const { std::ofstream(folder_ / "x.variants") << variants; }
};

TEST_F(AblationTest, EveryVariantAndSeedIsARunAndTheTableARow) {
  write("# a comment\n\nslow train.optimizer.rate=1e-5 train.clip_norm=2  # another\nasis\n");
  const ProgramResult first = ablation({"--rows", "slow", "--seeds", "3"});
  ASSERT_EQ(first.exit_code, 0) << first.output;
  EXPECT_THAT(config_of("slow/seed3"), HasSubstr("rate: 1e-05"));
  EXPECT_THAT(config_of("slow/seed3"), HasSubstr("clip_norm: 2"));
  EXPECT_THAT(config_of("slow/seed3"), HasSubstr("seed: 3"));
  EXPECT_THAT(config_of("slow/seed3"), HasSubstr("steps: 2"));
  const std::string before = read_text(folder_ / "out/slow/seed3/metrics.jsonl");

  const ProgramResult all = ablation({"--seeds", "3,4"});
  ASSERT_EQ(all.exit_code, 0) << all.output;
  EXPECT_EQ(read_text(folder_ / "out/slow/seed3/metrics.jsonl"), before);  // it was finished
  EXPECT_THAT(config_of("asis/seed4"), Not(HasSubstr("clip_norm: 2")));
  EXPECT_THAT(all.output, HasSubstr("| train.optimizer.rate 1e-05, train.clip_norm 2 | 2 |"));
  EXPECT_THAT(all.output, HasSubstr("| train.optimizer.rate 0.0005, train.clip_norm 0 | 2 |"));
}

TEST_F(AblationTest, WhatIsWrongIsSaidBeforeAnythingIsTrained) {
  const auto refusal = [&](const std::string& variants, const std::vector<std::string>& more = {}) {
    write(variants);
    const ProgramResult result = ablation(more);
    EXPECT_EQ(result.exit_code, 2) << result.output;
    EXPECT_EQ(lines_of(result.output).size(), 1U) << result.output;
    return result.output;
  };
  EXPECT_THAT(refusal("a\nb train.steps\n"), HasSubstr("x.variants:2: 'train.steps' is neither FIELD=VALUE nor"));
  EXPECT_THAT(refusal("a\n../b x=1\n"), HasSubstr("x.variants:2: '../b' is no name of a folder"));
  EXPECT_THAT(refusal("a\n# a\na x=1"), HasSubstr("x.variants:3: 'a' stands there twice"));
  EXPECT_THAT(refusal("# nothing\n"), HasSubstr("x.variants has no variant"));
  EXPECT_THAT(refusal("a\nb\n", {"--rows", "a,c"}), HasSubstr("x.variants has no variant 'c'"));
  EXPECT_THAT(refusal("a\n", {"--variants", folder_ / "absent"}), HasSubstr("absent cannot be read"));
  EXPECT_THAT(refusal("a\n", {"--row", "a"}), HasSubstr("unknown argument '--row'"));
  EXPECT_THAT(refusal("a\n", {"--rows"}), HasSubstr("'--rows' lacks its value"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "out"));
}

// The variants that come with the presets: each is a config that can be trained.
TEST_F(AblationTest, PresetsVariantsAreConfigs) {
  int variants = 0;
  for (const auto& entry : std::filesystem::directory_iterator(MUSTER_SOURCE_DIR "/configs")) {
    if (entry.path().extension() != ".variants") continue;
    for (const std::string& line : lines_of(read_text(entry.path()))) {
      std::istringstream words(line);
      std::vector<std::string> argv = {muster_program(),
                                       "train",
                                       "--print-config",
                                       "--data",
                                       "none",
                                       "--config",
                                       std::filesystem::path(entry.path()).replace_extension(".textproto")};
      std::string word;
      if (!(words >> word) || word[0] == '#') continue;
      while (words >> word) {
        if (word != "--refine") argv.insert(argv.end(), {"--set", word});
      }
      const ProgramResult result = run_program(argv);
      EXPECT_EQ(result.exit_code, 0) << line << ": " << result.output;
      ++variants;
    }
  }
  EXPECT_EQ(variants, 12);
}

}  // namespace
}  // namespace muster
