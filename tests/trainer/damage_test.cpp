// What a damaged step or a damaged rank does to a run: steps that are not finite change nothing, ranks that hold other
// bits than the rest are named, and no checkpoint holds what is not finite. Ranks are threads; tests/fault damages the
// memory of real processes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "comm/rank_numbers.h"
#include "comm/thread_communicator.h"
#include "dataloader/store.h"
#include "launch/error.h"
#include "tests/support/meddling_communicator.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_store.h"
#include "tests/trainer/tiny_run.h"

namespace muster {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// All there is to be touched: an average, heads, references with means, weights, optimizer.
RunSettings settings_with_everything(ReferencesConfig::Placement placement) {
  RunSettings settings = tiny_settings();
  settings.train.mutable_ema()->set_decay(0.9);
  settings.references.set_fusion_weight(1);
  settings.references.set_guidance_weight(1);
  settings.references.set_rate(0.01);
  settings.references.set_placement(placement);
  settings.heads.mutable_masked_words()->set_weight(0.5);
  settings.heads.mutable_identity_classifier()->set_weight(0.5);
  return settings;
}

// Damages the gradient that `rank` adds in the steps after these many.
struct BadGradient {
  int rank = 1;
  std::set<int64_t> after_steps;
  float value = std::numeric_limits<float>::quiet_NaN();
};

int64_t train(const TemporaryFolder& folder, const std::string& run, int ranks, int64_t stop_after,
              const RunSettings& settings, const BadGradient& bad) {
  const Store store(folder / "store");
  int64_t skipped = -1;
  run_ranks(ranks, [&](Communicator& communicator) {
    std::function<void(const at::Tensor&, const std::string&)> meddle = [](const auto&, const auto&) {};
    MeddlingCommunicator meddling(communicator, [&](const auto& tensor, const auto& name) { meddle(tensor, name); });
    Trainer trainer(settings, "test", store, folder / run, meddling);
    int64_t begun = trainer.step();
    meddle = [&](const at::Tensor& tensor, const std::string& name) {
      const int64_t done = std::max(begun, meddling.steps_done());
      if (name == "gradients 0" && meddling.rank() == bad.rank && bad.after_steps.count(done) > 0) {
        tensor.mutable_data_ptr<float>()[0] = bad.value;
      }
    };
    trainer.run(stop_after);
    if (communicator.rank() == 0) skipped = trainer.skipped_steps();
  });
  return skipped;
}

std::string checkpoint(const TemporaryFolder& folder, const std::string& run, int64_t step) {
  const std::string number = std::to_string(step);
  return folder / (run + "/checkpoints/step_" + std::string(10 - number.size(), '0') + number + "/");
}

class SkippedStepTest : public testing::TestWithParam<ReferencesConfig::Placement> {};

TEST_P(SkippedStepTest, LeavesEveryTensorAsItWas) {
  const TemporaryFolder folder;
  write_tiny_store(folder / "store", kIdentities);
  const RunSettings settings = settings_with_everything(GetParam());
  for (const float value : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    const std::string run = std::isnan(value) ? "nan" : "infinity";
    const BadGradient bad{1, {5}, value};
    EXPECT_EQ(train(folder, run, 2, 5, settings, bad), 0);
    EXPECT_EQ(train(folder, run, 2, 6, settings, bad), 1);
    for (const char* file :
         {"model.safetensors", "optimizer.safetensors", "ema.safetensors", "references.safetensors"}) {
      const std::string before = bytes_of(checkpoint(folder, run, 5) + file);
      ASSERT_FALSE(before.empty()) << file;
      EXPECT_TRUE(bytes_of(checkpoint(folder, run, 6) + file) == before) << file;
    }
    EXPECT_THAT(bytes_of(checkpoint(folder, run, 6) + "state.textproto"),
                AllOf(HasSubstr("skipped_steps: 1"), HasSubstr("skipped_in_a_row: 1"), HasSubstr("samples_seen: 48")));
  }
}

INSTANTIATE_TEST_SUITE_P(Placements, SkippedStepTest,
                         testing::Values(ReferencesConfig::REPLICATED, ReferencesConfig::SHARDED));

TEST(SkippedStep, ARunStoppedBetweenTwoEqualsTheUnbrokenRun) {
  const TemporaryFolder folder;
  write_tiny_store(folder / "store", kIdentities);
  const RunSettings settings = tiny_settings();
  const BadGradient bad{0, {3, 9, 10, 11, 17}};
  EXPECT_EQ(train(folder, "unbroken", 2, kSteps, settings, bad), 5);
  for (const int64_t stop : {4, 10, 11}) {
    const std::string run = "stopped" + std::to_string(stop);
    train(folder, run, 2, stop, settings, bad);
    EXPECT_EQ(train(folder, run, 2, kSteps, settings, bad), 5);
    for (const char* file : {"model.safetensors", "optimizer.safetensors", "state.textproto"}) {
      EXPECT_EQ(bytes_of(checkpoint(folder, run, kSteps) + file),
                bytes_of(checkpoint(folder, "unbroken", kSteps) + file))
          << file;
    }
    EXPECT_EQ(curve_of(folder / run), curve_of(folder / "unbroken"));
    EXPECT_EQ(bytes_of(folder / (run + "/non_finite.jsonl")), bytes_of(folder / "unbroken/non_finite.jsonl"));
  }
}

TEST(SkippedStep, ItsSamplesAreListedAndOneTooManyEndsTheRun) {
  const TemporaryFolder folder;
  write_tiny_store(folder / "store", kIdentities);
  RunSettings settings = tiny_settings();
  settings.train.mutable_non_finite()->set_skip(2);
  settings.train.mutable_checkpoint()->set_every(6);
  try {
    train(folder, "run", 2, kSteps, settings, {1, {2, 5, 6, 7}});
    FAIL() << "three in a row of at most two";
  } catch (const NonFiniteError& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("step 8: the gradient is not finite, 3 step(s) in a row"),
                                    HasSubstr("run/non_finite.jsonl")));
  }
  std::ifstream file(folder / "run/non_finite.jsonl");
  std::map<int64_t, std::set<int64_t>> positions;
  const Store store(folder / "store");
  for (std::string line; std::getline(file, line);) {
    const auto sample = nlohmann::json::parse(line);
    positions[sample["step"].get<int64_t>()].insert(sample["position"].get<int64_t>());
    EXPECT_TRUE(sample["grad_norm"].is_null());
    EXPECT_TRUE(sample["loss"].is_number());
    EXPECT_EQ(sample["file"], store.source_path(sample["image"].get<int64_t>()));
  }
  EXPECT_EQ(positions.size(), 4U);
  for (const int64_t step : {3, 6, 7, 8}) {
    EXPECT_EQ(positions[step].size(), 8U);
    EXPECT_EQ(*positions[step].begin(), 8 * (step - 1));
  }
  // The run that goes on from step 6 forgets those after it.
  settings.train.mutable_non_finite()->set_skip(3);
  EXPECT_EQ(train(folder, "run", 2, 7, settings, {1, {}}), 2);
  const std::string kept = bytes_of(folder / "run/non_finite.jsonl");
  EXPECT_EQ(std::count(kept.begin(), kept.end(), '\n'), 16);
}

TEST(SkippedStep, ZeroAllowedEndsTheRunAtTheFirst) {
  const TemporaryFolder folder;
  write_tiny_store(folder / "store", kIdentities);
  RunSettings settings = tiny_settings();
  settings.train.mutable_non_finite()->set_skip(0);
  EXPECT_THROW(train(folder, "run", 2, kSteps, settings, {0, {4}}), NonFiniteError);
}

// A finite gradient whose square is not: the optimizer's second moment becomes infinite, the norm does not.
TEST(NonFiniteState, IsNeverSaved) {
  const TemporaryFolder folder;
  write_tiny_store(folder / "store", kIdentities);
  RunSettings settings = tiny_settings();
  settings.train.set_clip_norm(0);
  settings.train.mutable_checkpoint()->set_every(4);
  try {
    train(folder, "run", 2, kSteps, settings, {1, {5}, 1e30F});
    FAIL() << "an infinite second moment was saved";
  } catch (const NonFiniteError& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("after step 8"), HasSubstr("optimizer state, first"),
                                    HasSubstr("exp_avg_sq"), HasSubstr("nothing was saved")));
  }
  EXPECT_TRUE(std::filesystem::exists(checkpoint(folder, "run", 4)));
  EXPECT_FALSE(std::filesystem::exists(checkpoint(folder, "run", 8)));
}

// Flips a bit of one of this rank's weights after these many steps; the weights are known by their broadcast at the
// start.
std::string flip_a_bit(const TemporaryFolder& folder, const std::string& run, int ranks, int odd, int64_t after) {
  const Store store(folder / "store");
  RunSettings settings = tiny_settings();
  settings.train.set_compare_ranks_every(5);
  std::mutex mutex;
  std::set<std::string> said;
  try {
    run_ranks(ranks, [&](Communicator& communicator) {
      at::Tensor weights;
      bool flipped = false;
      MeddlingCommunicator* self = nullptr;
      MeddlingCommunicator meddling(communicator, [&](const at::Tensor& tensor, const std::string& name) {
        if (name == "initial weights image.blocks.0.attention.qkv.weight") weights = tensor;
        if (self == nullptr || self->rank() != odd || flipped || self->steps_done() != after) return;
        static_cast<uint8_t*>(weights.mutable_data_ptr())[400] ^= 1;
        flipped = true;
      });
      self = &meddling;
      Trainer trainer(settings, "test", store, folder / run, meddling);
      try {
        trainer.run();
      } catch (const CommError& error) {
        const std::lock_guard<std::mutex> lock(mutex);
        said.insert(error.what());
        throw;
      }
    });
  } catch (const CommError&) {
  }
  for (const std::string& line : said) {
    if (line.find("after step") != std::string::npos) return line;
  }
  return "";
}

TEST(CompareRanks, TheOddRankIsNamed) {
  const TemporaryFolder folder;
  write_tiny_store(folder / "store", kIdentities);
  for (const int odd : {0, 2}) {
    const std::string said = flip_a_bit(folder, "odd" + std::to_string(odd), 3, odd, 6);
    EXPECT_THAT(said, AllOf(HasSubstr("after step 10 rank " + std::to_string(odd) + " ("),
                            HasSubstr("holds other weights, first "), HasSubstr("than the other 2")));
  }
}

TEST(CompareRanks, OfTwoNoneIsTheOddOne) {
  const TemporaryFolder folder;
  write_tiny_store(folder / "store", kIdentities);
  EXPECT_THAT(flip_a_bit(folder, "run", 2, 1, 6),
              AllOf(HasSubstr("after step 10 the ranks hold different weights, first "),
                    HasSubstr("no majority says which is right (rank 0; rank 1)")));
}

TEST(CompareRanks, WithoutDamageNobodyIs) {
  const TemporaryFolder folder;
  write_tiny_store(folder / "store", kIdentities);
  EXPECT_EQ(flip_a_bit(folder, "run", 3, 1, 1000), "");
}

TEST(OddRanks, AreThoseThatMostContradict) {
  EXPECT_EQ(odd_ranks({{1, 2}, {1, 2}, {1, 2}}), std::vector<int>());
  EXPECT_EQ(odd_ranks({{1, 2}, {1, 3}, {1, 2}}), std::vector<int>({1}));
  EXPECT_EQ(odd_ranks({{7}, {8}, {9}, {8}, {8}}), std::vector<int>({0, 2}));
  EXPECT_EQ(odd_ranks({{1}, {2}}), std::nullopt);
  EXPECT_EQ(odd_ranks({{1}, {1}, {2}, {2}}), std::nullopt);
  EXPECT_EQ(name_ranks({2}), "rank 2");
  EXPECT_EQ(name_ranks({0, 3}), "ranks 0 and 3");
  EXPECT_EQ(name_ranks({0, 1, 3}), "ranks 0, 1 and 3");
}

}  // namespace
}  // namespace muster
