// Images without captions, from a store to the table: training leaves them out, evaluation keeps them in the gallery.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <regex>
#include <string>
#include <vector>

#include "dataloader/image.h"
#include "dataloader/store.h"
#include "tests/commands/trained_run.h"

namespace muster {
namespace {

class UncaptionedTest : public testing::Test {
 protected:
  void SetUp() override {
    std::ofstream(folder_ / "config.textproto") << R"(
model {
  preset: MINI
  image { width_pixels: 16 height_pixels: 16 width: 24 layers: 1 heads: 2 }
  text { context: 12 width: 24 layers: 1 heads: 2 }
  joint_width: 16
}
objective { term { info_nce {} } }
train { global_batch: 8 steps: 4 threads: 1 log_every: 1 evaluation { every: 2 } }
)";
  }

  void add(StoreWriter& writer, int number, Split split, bool caption) const {
    StoreRecord record;
    record.source_path = fmt::format("{}.jpg", number);
    const std::vector<uint8_t> pixels(24 * 24 * 3, static_cast<uint8_t>(17 * number));
    record.image = encode_jpeg({24, 24, pixels}, 90);
    record.width = record.height = 24;
    if (caption) record.captions = {fmt::format("thing {}", number)};
    record.identity = std::to_string(number);
    record.split = split;
    writer.add(record);
  }

  // Ten images to train on and three to test, with captions; behind them, if asked, images of every split without.
  std::string make_store(const std::string& name, bool uncaptioned) const {
    StoreWriter writer(folder_ / name);
    for (int i = 0; i < 13; ++i) add(writer, i, i < 10 ? Split::kTrain : Split::kTest, true);
    if (uncaptioned) {
      add(writer, 13, Split::kTest, false);
      add(writer, 14, Split::kVal, false);
      for (int i = 15; i < 20; ++i) add(writer, i, Split::kTrain, false);
    }
    writer.finish();
    return folder_ / name;
  }

  ProgramResult train(const std::string& store, const std::string& run, const std::string& setting) const {
    return run_program({muster_program(), "train", "--config", folder_ / "config.textproto", "--data", store, "--run",
                        folder_ / run, "--set", setting});
  }

  // The numbers that training logged as its losses, as text.
  std::vector<std::string> losses(const std::string& run) const {
    const std::string text = read_text(folder_ / run + "/metrics.jsonl");
    const std::regex loss(R"("loss":([^,}]+))");
    std::vector<std::string> found;
    for (std::sregex_iterator at(text.begin(), text.end(), loss), end; at != end; ++at) found.push_back((*at)[1]);
    return found;
  }

  TemporaryFolder folder_;
};

TEST_F(UncaptionedTest, StayOutOfTrainingAndInTheGallery) {
  const std::string plain = make_store("plain", false), more = make_store("more", true);
  ASSERT_EQ(train(plain, "run-plain", "train.seed=3").exit_code, 0);
  const ProgramResult trained = train(more, "run-more", "train.seed=3");
  EXPECT_EQ(trained.exit_code, 0) << trained.output;  // val has an image, and nothing to evaluate
  EXPECT_THAT(trained.output, testing::HasSubstr("--split test"));
  EXPECT_EQ(losses("run-more").size(), 4U);
  EXPECT_EQ(losses("run-more"), losses("run-plain"));

  const ProgramResult table = run_program({muster_program(), "eval", "--run", folder_ / "run-more", "--data", more});
  EXPECT_EQ(table.exit_code, 0) << table.output;
  EXPECT_THAT(table.output, testing::HasSubstr("4 images, 3 captions"));
  EXPECT_THAT(table.output, testing::ContainsRegex("text to image .* 3 +4\n"));
}

TEST_F(UncaptionedTest, ASplitWithoutCaptionsIsRefusedWithThoseThatHaveSome) {
  const std::string store = make_store("more", true);
  ASSERT_EQ(train(store, "run", "train.steps=1").exit_code, 0);
  const ProgramResult val =
      run_program({muster_program(), "eval", "--run", folder_ / "run", "--data", store, "--split", "val"});
  EXPECT_EQ(val.exit_code, 2);
  EXPECT_THAT(val.output, testing::HasSubstr("split val has 1 images and no captions, so nothing can be evaluated on "
                                             "it; --split train has 10, --split test has 3\n"));
  const ProgramResult on_val =
      run_program({muster_program(), "train", "--config", folder_ / "config.textproto", "--data", store, "--run",
                   folder_ / "on-val", "--set", "data.train_splits=[VAL]", "--set", "train.evaluation.every=0"});
  EXPECT_EQ(on_val.exit_code, 2);
  EXPECT_THAT(on_val.output, testing::HasSubstr("no image to train on has a caption"));
}

}  // namespace
}  // namespace muster
