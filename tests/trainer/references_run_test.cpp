// Runs that keep a reference bank, in one process with ranks as threads: stopped and continued, at another world size
// and placement, from damaged files.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "comm/thread_communicator.h"
#include "dataloader/formats/safetensors.h"
#include "dataloader/store.h"
#include "launch/error.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_store.h"
#include "tests/trainer/tiny_run.h"

namespace muster {
namespace {

using testing::HasSubstr;

RunSettings settings_with(ReferencesConfig::Placement placement) {
  RunSettings settings = tiny_settings();
  settings.references.set_fusion_weight(1);
  settings.references.set_guidance_weight(1);
  settings.references.set_guidance_ramp_epochs(2);
  settings.references.set_rate(0.01);
  settings.references.set_placement(placement);
  return settings;
}

void train(const std::string& store_path, const std::string& run_dir, int ranks, int64_t stop_after,
           const RunSettings& settings) {
  const Store store(store_path);
  run_ranks(ranks, [&](Communicator& communicator) {
    Trainer trainer(settings, "test", store, run_dir, communicator);
    trainer.run(stop_after);
  });
}

// With words predicted from captions and references.
RunSettings settings_with_words(ReferencesConfig::Placement placement) {
  RunSettings settings = settings_with(placement);
  MaskedWordsConfig& words = *settings.heads.mutable_masked_words();
  words.set_weight(0.5);
  words.set_ramp_epochs(1);
  words.set_blocks(2);
  words.set_reference_tokens(2);
  return settings;
}

// Losses and gradient norms of each step, as numbers.
std::vector<double> numbers_of(const std::string& run_dir) {
  std::istringstream text(curve_of(run_dir));
  std::vector<double> numbers;
  for (double number = 0; text >> number;) numbers.push_back(number);
  return numbers;
}

void expect_close(const std::string& run, const std::string& expected) {
  const std::vector<double> got = numbers_of(run), wanted = numbers_of(expected);
  ASSERT_EQ(got.size(), wanted.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], wanted[i], 2e-4 * std::fabs(wanted[i])) << i;
}

class ReferencesRun : public testing::TestWithParam<ReferencesConfig::Placement> {};

TEST_P(ReferencesRun, StoppedEqualsTheUnbrokenRun) {
  const RunSettings settings = settings_with_words(GetParam());
  const TemporaryFolder folder;
  write_tiny_store(folder / "store", kIdentities);
  train(folder / "store", folder / "unbroken", 2, kSteps, settings);
  for (const int64_t stop : {1, 4, 13}) {
    const std::string run = folder / ("stopped" + std::to_string(stop));
    train(folder / "store", run, 2, stop, settings);
    train(folder / "store", run, 2, kSteps, settings);
    for (const char* file : {"model.safetensors", "optimizer.safetensors", "references.safetensors"}) {
      EXPECT_EQ(bytes_of(final_checkpoint(run) + file), bytes_of(final_checkpoint(folder / "unbroken") + file))
          << file << " after a stop at step " << stop;
    }
    EXPECT_EQ(curve_of(run), curve_of(folder / "unbroken")) << "after a stop at step " << stop;
  }
}

INSTANTIATE_TEST_SUITE_P(Placements, ReferencesRun,
                         testing::Values(ReferencesConfig::REPLICATED, ReferencesConfig::SHARDED),
                         [](const auto& tested) { return ReferencesConfig::Placement_Name(tested.param); });

// The same losses whatever the ranks and the placement, also where both change on the way.
TEST(ReferencesRun, WorldSizeAndPlacementMayChangeOnResume) {
  const TemporaryFolder folder;
  write_tiny_store(folder / "store", kIdentities);
  RunSettings replicated = settings_with(ReferencesConfig::REPLICATED);
  RunSettings sharded = settings_with(ReferencesConfig::SHARDED);
  replicated.model.set_dropout(0);
  sharded.model.set_dropout(0);
  train(folder / "store", folder / "one", 1, kSteps, replicated);
  train(folder / "store", folder / "three", 3, kSteps, sharded);
  expect_close(folder / "three", folder / "one");
  train(folder / "store", folder / "mixed", 4, 7, sharded);
  train(folder / "store", folder / "mixed", 1, 15, replicated);
  train(folder / "store", folder / "mixed", 3, kSteps, sharded);
  expect_close(folder / "mixed", folder / "one");
}

// The same of a run with a head, whose words are predicted among those of the training captions.
TEST(ReferencesRun, WordsArePredictedAlikeAtEveryWorldSize) {
  const TemporaryFolder folder;
  write_tiny_store(folder / "store", kIdentities);
  RunSettings one = settings_with_words(ReferencesConfig::REPLICATED);
  RunSettings three = settings_with_words(ReferencesConfig::SHARDED);
  for (RunSettings* settings : {&one, &three}) {
    settings->model.set_dropout(0);
    settings->references.set_fusion_weight(0);
    settings->references.set_guidance_weight(0);
  }
  train(folder / "store", folder / "one", 1, kSteps, one);
  train(folder / "store", folder / "three", 3, kSteps, three);
  expect_close(folder / "three", folder / "one");
  const NamedTensors model = read_safetensors(final_checkpoint(folder / "one") + "model.safetensors");
  const int64_t words = find_tensor(model, "heads.masked_words.weight", "").size(0);
  EXPECT_GT(words, 3);
  EXPECT_LT(words, 200);
  const NamedTensors references = read_safetensors(final_checkpoint(folder / "one") + "references.safetensors");
  EXPECT_GT(find_tensor(references, "exp_avg_sq", "").abs().max().item<float>(), 0);
}

// Global fusion alone never touches the features: the run is the one without a bank, bit for bit.
TEST(ReferencesRun, FusionAloneLeavesTheModelAsItWas) {
  const TemporaryFolder folder;
  write_tiny_store(folder / "store", kIdentities);
  RunSettings without = tiny_settings(), fusion = settings_with(ReferencesConfig::SHARDED);
  fusion.references.set_guidance_weight(0);
  without.train.set_clip_norm(0);
  fusion.train.set_clip_norm(0);
  train(folder / "store", folder / "without", 2, kSteps, without);
  train(folder / "store", folder / "fusion", 2, kSteps, fusion);
  for (const char* file : {"model.safetensors", "optimizer.safetensors"}) {
    EXPECT_EQ(bytes_of(final_checkpoint(folder / "fusion") + file),
              bytes_of(final_checkpoint(folder / "without") + file));
  }
}

TEST(ReferencesRun, TheBankLearnsAndIsSavedWhole) {
  const TemporaryFolder folder;
  write_tiny_store(folder / "store", kIdentities);
  train(folder / "store", folder / "run", 3, kSteps, settings_with(ReferencesConfig::SHARDED));
  const NamedTensors saved = read_safetensors(final_checkpoint(folder / "run") + "references.safetensors");
  const at::Tensor rows = find_tensor(saved, "rows", "");
  ASSERT_EQ(rows.size(0), 16);
  EXPECT_LE((rows.norm(2, {1}) - 1).abs().max().item<float>(), 1e-5);
  const int64_t* identity = find_tensor(saved, "identity", "").const_data_ptr<int64_t>();
  EXPECT_EQ(std::set<int64_t>(identity, identity + 16).size(), 16U);
  EXPECT_EQ(find_tensor(saved, "step", "").min().item<int64_t>(), kSteps);
  const double mean = find_tensor(saved, "mean.image", "").norm().item<double>();
  EXPECT_GT(mean, 0.1);
  EXPECT_LE(mean, 1);
}

TEST(ReferencesRun, ADamagedBankMakesTheCheckpointDamaged) {
  const TemporaryFolder folder;
  write_tiny_store(folder / "store", kIdentities);
  RunSettings settings = settings_with(ReferencesConfig::SHARDED);
  settings.train.mutable_checkpoint()->set_every(4);
  train(folder / "store", folder / "unbroken", 2, kSteps, settings);
  train(folder / "store", folder / "run", 2, 8, settings);
  const std::string file = folder / "run" + "/checkpoints/step_0000000008/references.safetensors";
  std::string bytes = bytes_of(file);
  bytes[bytes.size() / 2] ^= 1;
  std::ofstream(file, std::ios::binary) << bytes;
  train(folder / "store", folder / "run", 2, kSteps, settings);
  EXPECT_EQ(bytes_of(final_checkpoint(folder / "run") + "references.safetensors"),
            bytes_of(final_checkpoint(folder / "unbroken") + "references.safetensors"));
}

std::string error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(ReferencesRun, SaysWhatIsWrong) {
  const TemporaryFolder folder;
  write_tiny_store(folder / "store", kIdentities);
  const RunSettings with = settings_with(ReferencesConfig::REPLICATED);
  train(folder / "store", folder / "without", 1, 2, tiny_settings());
  EXPECT_THAT(error_of([&] { train(folder / "store", folder / "without", 1, 4, with); }),
              HasSubstr("has no references though the config asks for them"));
  train(folder / "store", folder / "with", 1, 2, with);
  RunSettings elsewhere = with;
  elsewhere.references.set_pair("local");
  EXPECT_THAT(error_of([&] { train(folder / "store", folder / "new", 1, 4, elsewhere); }),
              HasSubstr("references.pair is \"local\", but the features have only global"));
}

}  // namespace
}  // namespace muster
