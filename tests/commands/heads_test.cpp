// A run with a masked-words head through the commands: what is learned beside the model stays out of everybody's way.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>
#include <string>
#include <vector>

#include "tests/commands/trained_run.h"

namespace muster {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class HeadsCommand : public TrainedRunTest {
 protected:
  std::vector<std::string> train(const std::string& run, const std::vector<std::string>& settings) const {
    std::vector<std::string> argv = {muster_program(), "train", "--config", run_folder() + "/config.textproto",
                                     "--data",         store(), "--run",    folder_ / run};
    for (const std::string& setting : settings) {
      argv.emplace_back("--set");
      argv.push_back(setting);
    }
    return argv;
  }
  static std::string run_folder() { return run(); }
};

TEST_F(HeadsCommand, TheRunIsEvaluatedRefinedAndStartedFrom) {
  const std::vector<std::string> words = {"references.fusion_weight=1", "heads.masked_words.weight=1",
                                          "train.optimizer.group=[{ name: \"heads.*\" rate_multiplier: 5 }]"};
  const std::string trained = output_of(train("words", words));
  EXPECT_THAT(trained, HasSubstr("masked_words "));
  EXPECT_THAT(trained, HasSubstr("heads.*"));
  std::vector<std::string> elsewhere = words;  // where the references lie decides no result
  elsewhere.emplace_back("references.placement=SHARDED");
  const std::string again = output_of(train("words", elsewhere));
  EXPECT_THAT(again, HasSubstr("continuing"));
  const auto on = [&](const std::string& command, std::vector<std::string> more) {
    std::vector<std::string> argv = {muster_program(), command, "--run", folder_ / "words", "--data", store()};
    argv.insert(argv.end(), more.begin(), more.end());
    return argv;
  };
  EXPECT_THAT(output_of(on("eval", {"--split", "test", "--refine"})), HasSubstr("references, phi"));
  output_of(on("embed", {"--split", "test", "--out", folder_ / "e.safetensors"}));
  output_of(train("after", {"train.init.run=" + (folder_ / "words")}));
  // The preset's group for heads may stay where there are none.
  output_of(train("without", {"train.optimizer.group=[{ name: \"heads.*\" rate_multiplier: 5 }]"}));
}

// IRRA's: no references are kept.
TEST_F(HeadsCommand, WordsOfTheImageAreTrainedWithoutReferences) {
  const std::vector<std::string> settings = {"heads.masked_words={ weight: 1 context: IMAGE blocks: 2 output: ALL }",
                                             "heads.identity_classifier.weight=1"};
  const std::string trained = output_of(train("irra", settings));
  EXPECT_THAT(trained, AllOf(HasSubstr("masked_words "), HasSubstr("identity_classifier ")));
  EXPECT_THAT(output_of(train("irra", settings)), HasSubstr("continuing"));
  output_of({muster_program(), "eval", "--run", folder_ / "irra", "--data", store(), "--split", "test"});
}

// The restored images are in the report, and nothing else needs what SEN's heads have learned.
TEST_F(HeadsCommand, RestorationAndIdentitiesAreTrainedAndShown) {
  const std::vector<std::string> settings = {"heads.image_restoration={ weight: 2 mask_ratio: 0.5 blocks: 1 }",
                                             "heads.identity_classifier.weight=1"};
  const std::string trained = output_of(train("sen", settings));
  EXPECT_THAT(trained, HasSubstr("image_restoration "));
  EXPECT_THAT(trained, HasSubstr("identity_classifier "));
  EXPECT_THAT(output_of(train("sen", settings)), HasSubstr("continuing"));
  for (const std::string& from : {folder_ / "sen", folder_ / "sen/checkpoints/step_0000000004"}) {
    const std::string page = folder_ / "page.html";
    output_of({muster_program(), "eval", "--run", from, "--data", store(), "--report", page});
    const std::string html = read_text(page);
    const size_t section = html.find("<h2>Restoration</h2>");
    ASSERT_NE(section, std::string::npos) << from;
    size_t pictures = 0;
    for (size_t i = html.find("data:image/jpeg", section); i != std::string::npos;
         i = html.find("data:image/jpeg", i + 1)) {
      ++pictures;
    }
    EXPECT_EQ(pictures, 3U * 8U) << from;
  }
  output_of({muster_program(), "search", "--run", folder_ / "sen", "--data", store(), "a red thing"});
}

// Steps with and without heads are measured; the share of FLOP is that of the dry run.
TEST_F(HeadsCommand, BenchSaysWhatHeadsAdd) {
  const auto bench = [&](const std::vector<std::string>& settings) {
    std::vector<std::string> argv = {muster_program(),
                                     "bench",
                                     "train",
                                     "--config",
                                     run_folder() + "/config.textproto",
                                     "--batch",
                                     "8",
                                     "--steps",
                                     "2",
                                     "--threads",
                                     "1",
                                     "--set",
                                     "train.chunk=3"};
    for (const std::string& setting : settings) argv.insert(argv.end(), {"--set", setting});
    return output_of(argv);
  };
  EXPECT_THAT(bench({}), Not(HasSubstr("heads")));
  const std::vector<std::string> sen = {"heads.image_restoration={ weight: 2 mask_ratio: 0.5 blocks: 2 }",
                                        "heads.identity_classifier.weight=1", "model.text.layers=6",
                                        "model.image.layers=6",
                                        "train.optimizer.group=[{ name: \"heads.identity*\" rate_multiplier: 5 }]"};
  const std::string text = bench(sen);
  EXPECT_THAT(text, HasSubstr("\nheads   "));
  std::smatch added, share;
  const std::regex line(
      "heads add ([0-9.]+) % FLOP, -?[0-9.]+ % time and -?[0-9.]+ % processor time to a step without");
  ASSERT_TRUE(std::regex_search(text, added, line)) << text;
  // A dry run's heads are all of it but what the last text block does for tokens that a caption's feature needs not.
  std::vector<std::string> argv = train("none", sen);
  argv.insert(argv.end(), {"--dry-run", "--flops", "1", "--set", "train.chunk=3"});
  const std::string foreseen = output_of(argv);
  ASSERT_TRUE(std::regex_search(foreseen, share, std::regex("\n  heads +[0-9.]+ +([0-9.]+) %"))) << foreseen;
  const double heads = std::stod(share[1]) / 100;
  EXPECT_GE(std::stod(added[1]), 100 * heads / (1 - heads) - 0.1);
  EXPECT_LE(std::stod(added[1]), 100 * heads / (1 - heads) + 20);

  EXPECT_THAT(bench({"heads.masked_words={ weight: 1 context: IMAGE output: ALL attend_padding: true }",
                     "heads.identity_classifier.weight=1",
                     "train.optimizer.group=[{ name: \"heads.masked_words.*\" rate_multiplier: 5 }]"}),
              AllOf(HasSubstr("heads add"), Not(HasSubstr("without references"))));
  EXPECT_THAT(bench({"references.fusion_weight=1", "heads.masked_words.weight=1"}),
              HasSubstr("without references and the heads that need them"));
}

TEST_F(HeadsCommand, MisspeltGroupOfHeadsIsRefused) {
  const ProgramResult result = run_program(
      train("words", {"heads.masked_words.weight=1", "train.optimizer.group=[{ name: \"heads.masked_word.*\" }]"}));
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.output, HasSubstr("did you mean \"heads.masked_words.*\"?"));
}

}  // namespace
}  // namespace muster
