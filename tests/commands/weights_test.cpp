// Which weights a run starts from (train.init) and which a command takes (--weights), by the program itself.
#include <ATen/core/Tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "dataloader/formats/safetensors.h"
#include "tests/support/child_process.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_store.h"
#include "trainer/encoders/position_tables.h"

namespace muster {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr char kConfig[] = R"(
model {
  preset: MINI
  image { width_pixels: 16 height_pixels: 16 width: 24 layers: 1 heads: 2 }
  text { context: 12 width: 24 layers: 1 heads: 2 }
  joint_width: 16
}
objective { term { info_nce {} } }
train { global_batch: 8 steps: 2 threads: 1 schedule { decay: CONSTANT } }
)";

class WeightsTest : public testing::Test {
 protected:
  void SetUp() override {
    write_tiny_store(folder_ / "store", 12);
    std::ofstream(folder_ / "config.textproto") << kConfig;
  }

  ProgramResult train(const std::string& run, const std::vector<std::string>& settings) const {
    std::vector<std::string> argv = {muster_program(), "train",           "--config", folder_ / "config.textproto",
                                     "--data",         folder_ / "store", "--run",    folder_ / run};
    for (const std::string& setting : settings) argv.insert(argv.end(), {"--set", setting});
    return run_program(argv);
  }

  ProgramResult embed(const std::string& run, const std::string& weights) const {
    return run_program({muster_program(), "embed", "--run", folder_ / run, "--data", folder_ / "store", "--weights",
                        weights, "--out", folder_ / (run + weights)});
  }

  at::Tensor images_of(const std::string& run, const std::string& weights) const {
    const ProgramResult result = embed(run, weights);
    EXPECT_EQ(result.exit_code, 0) << result.output;
    return find_tensor(read_safetensors(folder_ / (run + weights)), "image", run);
  }

  NamedTensors saved(const std::string& run, const std::string& file) const {
    return read_safetensors(folder_ / (run + "/checkpoints/step_0000000002/" + file));
  }

  TemporaryFolder folder_;
};

TEST_F(WeightsTest, EmbedTakesTheAverageOrTheWeightsAsAsked) {
  ASSERT_EQ(train("averaged", {"train.ema.decay=0.5"}).exit_code, 0);
  const at::Tensor raw = images_of("averaged", "raw"), average = images_of("averaged", "ema");
  EXPECT_FALSE(raw.equal(average));
  EXPECT_TRUE(images_of("averaged", "auto").equal(average));
  ASSERT_EQ(train("plain", {}).exit_code, 0);
  EXPECT_TRUE(images_of("plain", "auto").equal(raw));
  const ProgramResult refused = embed("plain", "ema");
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.output, HasSubstr("plain keeps no average of its weights (train.ema.decay is 0)"));
  EXPECT_THAT(embed("plain", "emma").output, HasSubstr("--weights is auto, raw or ema, not 'emma'"));
}

TEST_F(WeightsTest, ARunStartsFromAnotherOfOtherInputSizes) {
  ASSERT_EQ(train("first", {"train.ema.decay=0.5", "train.seed=3"}).exit_code, 0);
  std::vector<std::string> settings = {"train.init.run=" + (folder_ / "first"), "model.image.height_pixels=24",
                                       "model.image.width_pixels=8", "model.text.context=20", "train.optimizer.rate=0"};
  const ProgramResult refused = train("second", settings);
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.output, HasSubstr("first was trained with another size (2 x 2 patches there, 3 x 1 here): set "
                                        "train.init.resize_positions to BILINEAR or BICUBIC"));
  settings.emplace_back("train.init.resize_positions=BILINEAR");
  settings.emplace_back("train.init.ema=true");
  const ProgramResult done = train("second", settings);
  ASSERT_EQ(done.exit_code, 0) << done.output;
  EXPECT_THAT(done.output, HasSubstr("position table resized (2 x 2 patches there, 3 x 1 here)"));
  EXPECT_THAT(done.output, HasSubstr("position table resized (12 tokens there, 20 here)"));
  EXPECT_THAT(done.output, Not(HasSubstr("heads start anew")));
  settings.emplace_back("heads.identity_classifier.weight=1");
  EXPECT_THAT(train("third", settings).output, HasSubstr("heads start anew: train.init.run gives the model's weights"));
  const NamedTensors before = saved("first", "ema.safetensors"), after = saved("second", "model.safetensors");
  for (const auto& [name, tensor] : after) {
    at::Tensor expected = find_tensor(before, name, "first");
    if (name == "image.position_embedding") {
      expected = resize_patch_positions(expected, {2, 2}, {3, 1}, GridFilter::kBilinear);
    } else if (name == "text.position_embedding") {
      expected = resize_text_positions(expected, 20);
    } else if (name == "objective.log_scale") {
      continue;
    }
    EXPECT_TRUE(tensor.equal(expected)) << name;
  }
}

TEST_F(WeightsTest, AnotherModelIsRefused) {
  ASSERT_EQ(train("first", {}).exit_code, 0);
  const ProgramResult refused = train("second", {"train.init.run=" + (folder_ / "first"), "model.joint_width=8"});
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.output, HasSubstr("image.projection has shape [24, 16] there and [24, 8] here"));
}

// Their names, from ours.
std::string open_clip_name(std::string name) {
  const std::vector<std::pair<std::string, std::string>> renamed = {
      {"image.patch.weight", "visual.conv1.weight"},
      {"image.projection", "visual.proj"},
      {"image.class_embedding", "visual.class_embedding"},
      {"image.position_embedding", "visual.positional_embedding"},
      {"image.pre_norm", "visual.ln_pre"},
      {"image.post_norm", "visual.ln_post"},
      {"image.blocks", "visual.transformer.resblocks"},
      {"text.blocks", "transformer.resblocks"},
      {"text.token_embedding", "token_embedding.weight"},
      {"text.position_embedding", "positional_embedding"},
      {"text.projection", "text_projection"},
      {"text.final_norm", "ln_final"},
      {"attention_norm", "ln_1"},
      {"mlp_norm", "ln_2"},
      {"attention.qkv.", "attn.in_proj_"},
      {"attention.output", "attn.out_proj"},
      {"mlp.expand", "mlp.c_fc"},
      {"mlp.contract", "mlp.c_proj"},
      {"objective.log_scale", "logit_scale"}};
  for (const auto& [ours, theirs] : renamed) {
    const size_t at = name.find(ours);
    if (at != std::string::npos) name.replace(at, ours.size(), theirs);
  }
  return name;
}

TEST_F(WeightsTest, ARunStartsFromAPublishedFileOfOtherInputSizes) {
  ASSERT_EQ(train("first", {"train.seed=3"}).exit_code, 0);
  const NamedTensors before = saved("first", "model.safetensors");
  NamedTensors published;
  for (const auto& [name, tensor] : before) {
    const bool patch = name == "image.patch.weight";
    published.emplace_back(open_clip_name(name), (patch ? tensor.view({24, 3, 8, 8}) : tensor).to(at::kHalf));
  }
  published.emplace_back("classifier.weight", before.front().second);
  write_safetensors(folder_ / "published", published);
  // What the file shows is left out of the config.
  std::ofstream(folder_ / "config.textproto") << R"(
model { image { height_pixels: 24 width_pixels: 8 heads: 2 } text { heads: 2 } activation: GELU }
objective { term { info_nce {} } }
train { global_batch: 8 steps: 2 threads: 1 optimizer { rate: 0 } }
)";
  std::vector<std::string> settings = {"train.init.weights=" + (folder_ / "published")};
  EXPECT_THAT(train("second", settings).output, HasSubstr("train.init.ignore: [\"classifier.*\"]"));
  settings.emplace_back("train.init.ignore=[\"classifier.*\"]");
  EXPECT_THAT(train("second", settings).output,
              HasSubstr("published was trained with another size (2 x 2 patches there, 3 x 1 here)"));
  settings.emplace_back("train.init.resize_positions=BILINEAR");
  const ProgramResult done = train("second", settings);
  ASSERT_EQ(done.exit_code, 0) << done.output;
  EXPECT_THAT(done.output, HasSubstr("position table resized (2 x 2 patches there, 3 x 1 here)"));
  EXPECT_THAT(done.output, HasSubstr("left out by train.init.ignore: classifier.weight"));
  EXPECT_THAT(done.output, HasSubstr("objective.logit_scale starts at the file's 14."));
  for (const auto& [name, tensor] : saved("second", "model.safetensors")) {
    at::Tensor expected = find_tensor(before, name, "first").to(at::kHalf).to(at::kFloat);
    if (name == "image.position_embedding") {
      expected = resize_patch_positions(expected, {2, 2}, {3, 1}, GridFilter::kBilinear);
    }
    EXPECT_TRUE(tensor.equal(expected)) << name;
  }
  // A checkpoint wins: nothing is taken from the file again.
  const ProgramResult again = train("second", settings);
  EXPECT_EQ(again.exit_code, 0) << again.output;
  EXPECT_EQ(again.output.find("starting from"), std::string::npos) << again.output;
  const ProgramResult fixed = train("third", [&] {
    settings.emplace_back("objective.logit_scale.learnable=false");
    return settings;
  }());
  EXPECT_THAT(fixed.output, HasSubstr("the file's logit_scale is left out: the objective has no learnable one"));
}

// To others' files and back: a run that starts from them, and does not move, embeds as the run that was exported.
TEST_F(WeightsTest, ExportsAreWeightsToStartFrom) {
  ASSERT_EQ(train("a", {}).exit_code, 0);
  for (const auto& [format, file] : {std::pair{"hf", "model"}, {"open_clip", "open_clip_model"}}) {
    const std::string to = folder_ / format;
    const ProgramResult made =
        run_program({muster_program(), "export", "--run", folder_ / "a", "--format", format, "--out", to});
    ASSERT_EQ(made.exit_code, 0) << made.output;
    EXPECT_THAT(made.output, HasSubstr("at step 2"));
    const std::string weights = to + "/" + file + ".safetensors";
    const ProgramResult trained = train(
        format + std::string("_run"), {"train.init.weights=" + weights, "train.steps=1", "train.optimizer.rate=1e-30"});
    ASSERT_EQ(trained.exit_code, 0) << trained.output;
    EXPECT_THAT(trained.output, Not(HasSubstr("does not say its heads")));
    EXPECT_TRUE(images_of("a", "raw").equal(images_of(format + std::string("_run"), "raw"))) << format;
  }
}

}  // namespace
}  // namespace muster
