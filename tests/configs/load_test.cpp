#include "configs/load.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "configs/validate.h"
#include "launch/error.h"
#include "trainer/chunk_search.h"

namespace muster {
namespace {

using google::protobuf::util::MessageDifferencer;
using testing::HasSubstr;

constexpr const char* kMinimal = "model { preset: MINI } objective { term { info_nce { } } } train { steps: 100 }";

std::string error_of(const std::string& text, const std::vector<std::string>& overrides) {
  try {
    parse_run_config(text, "x.textproto", overrides);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "none";
}

// tests/golden/config_errors.txt: cases of "# title", the config, "--set" lines, ">" lines of the message expected.
struct GoldenCase {
  std::string title, config, expected;
  std::vector<std::string> overrides;
};

std::vector<GoldenCase> golden_cases() {
  std::vector<GoldenCase> cases;
  std::ifstream file(MUSTER_SOURCE_DIR "/tests/golden/config_errors.txt");
  for (std::string line; std::getline(file, line);) {
    if (line.compare(0, 2, "# ") == 0) {
      cases.push_back({line.substr(2), "", "", {}});
    } else if (line.compare(0, 6, "--set ") == 0) {
      cases.back().overrides.push_back(line.substr(6));
    } else if (line.compare(0, 1, ">") == 0) {
      cases.back().expected +=
          (cases.back().expected.empty() ? "" : "\n") + line.substr(std::min<size_t>(2, line.size()));
    } else if (!cases.empty()) {
      cases.back().config += line + "\n";
    }
  }
  return cases;
}

TEST(ConfigErrorsTest, SayWhatWhereAndWhatToDo) {
  const std::vector<GoldenCase> cases = golden_cases();
  ASSERT_GT(cases.size(), 20U);
  for (const GoldenCase& golden : cases) {
    std::string config = golden.config;
    if (config.find_first_not_of(" \n") == std::string::npos) config = kMinimal;
    EXPECT_EQ(error_of(config, golden.overrides), golden.expected) << golden.title;
  }
}

TEST(ConfigLoadTest, EveryPresetIsValidAndStaysItselfWhenPrinted) {
  int presets = 0;
  for (const auto& entry : std::filesystem::directory_iterator(MUSTER_SOURCE_DIR "/configs")) {
    if (entry.path().extension() != ".textproto") continue;
    ++presets;
    SCOPED_TRACE(entry.path());
    const RunConfig config = load_run_config(entry.path(), {});
    const std::string text = print_run_config(config);
    const RunConfig again = parse_run_config(text, "printed", {});
    EXPECT_TRUE(MessageDifferencer::Equals(config, again));
    EXPECT_EQ(print_run_config(again), text);
  }
  EXPECT_GE(presets, 6);
}

TEST(ConfigLoadTest, EmojiIsTheRecipe) {
  const RunConfig config = load_run_config(MUSTER_SOURCE_DIR "/configs/emoji.textproto", {});
  EXPECT_EQ(config.model().preset(), ModelConfig::MINI);
  EXPECT_EQ(config.data().captions(), DataConfig::RANDOM_CAPTION);
  EXPECT_EQ(config.data().image().resample(), ImageTransformConfig::BICUBIC);
  EXPECT_EQ(config.data().image().fit(), ImageTransformConfig::STRETCH);
  EXPECT_FALSE(config.data().image().flip());
  EXPECT_EQ(config.data().image().pad_crop(), 0);
  ASSERT_EQ(config.objective().term_size(), 1);
  EXPECT_EQ(config.objective().term(0).info_nce().positives(), PAIR);
  EXPECT_FALSE(config.objective().term(0).info_nce().has_temperature());
  EXPECT_DOUBLE_EQ(config.objective().logit_scale().init(), 1 / 0.07);
  EXPECT_EQ(config.objective().logit_scale().max(), 100);
  const TrainConfig& train = config.train();
  EXPECT_EQ(train.global_batch(), 128);
  EXPECT_EQ(train.steps(), 300);
  EXPECT_EQ(train.clip_norm(), 0);
  EXPECT_EQ(train.optimizer().kind(), OptimizerConfig::ADAMW);
  EXPECT_EQ(train.optimizer().rate(), 5e-4);
  EXPECT_EQ(train.optimizer().beta1(), 0.9);
  EXPECT_EQ(train.optimizer().beta2(), 0.98);
  EXPECT_EQ(train.optimizer().epsilon(), 1e-6);
  EXPECT_EQ(train.optimizer().weight_decay(), 0.2);
  EXPECT_FALSE(train.optimizer().decay_all());
  EXPECT_EQ(train.schedule().warmup_steps(), 50);
  EXPECT_EQ(train.schedule().decay(), ScheduleConfig::COSINE);
  EXPECT_EQ(train.schedule().final_fraction(), 0);
}

TEST(ConfigLoadTest, ResolvingMakesDefaultsExplicitAndIsIdempotent) {
  const RunConfig config = parse_run_config(kMinimal, "x", {});
  EXPECT_TRUE(config.train().optimizer().has_beta2());
  EXPECT_TRUE(config.comm().has_bucket_bytes());
  EXPECT_TRUE(config.train().checkpoint().has_keep_best());
  EXPECT_TRUE(config.objective().term(0).has_weight());
  EXPECT_TRUE(config.objective().term(0).info_nce().has_positives());
  EXPECT_FALSE(config.objective().term(0).has_sdm());
  EXPECT_FALSE(config.objective().term(0).info_nce().has_temperature());
  EXPECT_FALSE(config.train().has_epochs());
  EXPECT_EQ(config.data().image().mean_size(), 3);
  EXPECT_EQ(config.model().image().width_pixels(), 64);
  EXPECT_TRUE(MessageDifferencer::Equals(resolve_run_config(config), config));
}

TEST(ConfigLoadTest, SgdDecaysOnlyIfToldTo) {
  EXPECT_EQ(parse_run_config(kMinimal, "x", {}).train().optimizer().weight_decay(), 0.2);
  EXPECT_EQ(parse_run_config(kMinimal, "x", {"train.optimizer.kind=SGD"}).train().optimizer().weight_decay(), 0);
  EXPECT_EQ(parse_run_config(kMinimal, "x", {"train.optimizer.kind=SGD", "train.optimizer.weight_decay=0.1"})
                .train()
                .optimizer()
                .weight_decay(),
            0.1);
}

TEST(ConfigLoadTest, OverridesOfEveryKind) {
  const RunConfig config = parse_run_config(
      kMinimal, "x",
      {"train.global_batch=512", "train.optimizer.rate=1e-4", "data.image.flip=true", "train.schedule.decay=CONSTANT",
       "data.tokenizer.merges=/a path/with=equals.gz", "objective.term[0].weight=2", "objective.term[1].weight=0.5",
       "objective.term[1].sdm.temperature=0.02", "data.image.mean=[0.5, 0.25, 0.125]", "data.image.std=[1,1,1]",
       "data.image.mean[1]=0.75", "train.optimizer.group[0].name=image.*", "train.optimizer.group[0].freeze=true",
       "objective.logit_scale={ init: 20 learnable: false }", "train.seed=18446744073709551615"});
  EXPECT_EQ(config.train().global_batch(), 512);
  EXPECT_EQ(config.train().optimizer().rate(), 1e-4);
  EXPECT_TRUE(config.data().image().flip());
  EXPECT_EQ(config.train().schedule().decay(), ScheduleConfig::CONSTANT);
  EXPECT_EQ(config.data().tokenizer().merges(), "/a path/with=equals.gz");
  EXPECT_EQ(config.objective().term(0).weight(), 2);
  EXPECT_EQ(config.objective().term(1).weight(), 0.5);
  EXPECT_EQ(config.objective().term(1).sdm().temperature(), 0.02);
  EXPECT_THAT(config.data().image().mean(), testing::ElementsAre(0.5F, 0.75F, 0.125F));
  EXPECT_EQ(config.train().optimizer().group(0).name(), "image.*");
  EXPECT_TRUE(config.train().optimizer().group(0).freeze());
  EXPECT_EQ(config.objective().logit_scale().init(), 20);
  EXPECT_FALSE(config.objective().logit_scale().learnable());
  EXPECT_EQ(config.train().seed(), UINT64_MAX);
}

TEST(ConfigLoadTest, AnOverrideReplacesALossOnlyAsAWhole) {
  const RunConfig config = parse_run_config(kMinimal, "x", {"objective.term[0]={ weight: 3 sdm { } }"});
  ASSERT_EQ(config.objective().term_size(), 1);
  EXPECT_TRUE(config.objective().term(0).has_sdm());
  EXPECT_EQ(config.objective().term(0).weight(), 3);
}

TEST(ConfigLoadTest, AMissingFileIsNamed) {
  try {
    load_run_config("/nowhere/x.textproto", {});
    FAIL();
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr("/nowhere/x.textproto"));
  }
}

TEST(ConfigLoadTest, RubbishIsRefusedNotCrashedOn) {
  for (const std::string& text :
       {std::string("\0\1\2", 3), std::string("{"), std::string("}"), std::string("model {"), std::string("\xff\xfe"),
        std::string(5000, '{'), std::string("train { steps: \"\xff\" }"), std::string("# only a comment")}) {
    EXPECT_NE(error_of(text, {}), "none");
  }
}

// A word for a number: in a file and in --set, and back again.
TEST(NumberWordsTest, ChunkIsANumberOrAuto) {
  const auto with = [](const std::string& train, const std::vector<std::string>& overrides = {}) {
    const std::string rest = "model { preset: MINI } objective { term { info_nce { } } } train { steps: 100 ";
    return parse_run_config(rest + train + "}", "x.textproto", overrides);
  };
  for (const RunConfig& config : {with("chunk: AUTO"), with("chunk :AUTO # AUTO\n"), with("", {"train.chunk=AUTO"}),
                                  with("chunk: 5", {"train.chunk=AUTO"})}) {
    EXPECT_EQ(config.train().chunk(), kAutoChunk);
    const std::string text = print_run_config(config);
    EXPECT_THAT(text, HasSubstr("chunk: AUTO\n"));
    EXPECT_TRUE(MessageDifferencer::Equals(parse_run_config(text, "again", {}), config));
  }
  EXPECT_EQ(with("chunk: AUTO", {"train.chunk=16"}).train().chunk(), 16);
  EXPECT_THAT(print_run_config(with("")), HasSubstr("chunk: 0\n"));
}

TEST(NumberWordsTest, AreWordsInTheirPlaceAlone) {
  EXPECT_EQ(error_of(kMinimal, {"train.chunk=auto"}),
            "--set train.chunk=auto: chunk takes a whole number (int64) or AUTO");
  EXPECT_EQ(error_of(kMinimal, {"train.steps=AUTO"}), "--set train.steps=AUTO: steps takes a whole number (int64)");
  EXPECT_EQ(error_of("train { chunk: Auto }", {}), "x.textproto:1:16: \"Auto\" is no number: write AUTO");
  EXPECT_THAT(error_of("train { steps: AUTO }", {}), HasSubstr("x.textproto:1:16"));
  EXPECT_THAT(error_of("train { chunk: AUTO stepz: 3 }", {}), HasSubstr("x.textproto:1:21: unknown field \"stepz\""));
  EXPECT_THAT(error_of("train { chunk: \"AUTO\" }", {}), HasSubstr("x.textproto:1:16"));
}

}  // namespace
}  // namespace muster
