// Runs that keep a reference bank, in one process with ranks as threads: stopped and continued, at another world size
// and placement, from damaged files.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/zeros.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <map>
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
#include "trainer/reference_names.h"

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

// Shards cut through the references of an identity.
TEST(ReferencesRun, SeveralReferencesAnIdentityResumeAnywhere) {
  const TemporaryFolder folder;
  write_tiny_store(folder / "store", kIdentities);
  RunSettings replicated = settings_with_words(ReferencesConfig::REPLICATED);
  RunSettings sharded = settings_with_words(ReferencesConfig::SHARDED);
  for (RunSettings* settings : {&replicated, &sharded}) {
    settings->model.set_dropout(0);
    settings->references.set_per_identity(2);
  }
  train(folder / "store", folder / "one", 1, kSteps, replicated);
  train(folder / "store", folder / "mixed", 3, 7, sharded);
  train(folder / "store", folder / "mixed", 2, 15, replicated);
  train(folder / "store", folder / "mixed", 4, kSteps, sharded);
  expect_close(folder / "mixed", folder / "one");
  const NamedTensors saved = read_safetensors(final_checkpoint(folder / "mixed") + "references.safetensors");
  EXPECT_EQ(find_tensor(saved, "rows", "").size(0), 32);
  EXPECT_EQ(find_tensor(saved, "slot", "").sum().item<int64_t>(), 16);
  RunSettings begun = settings_with(ReferencesConfig::SHARDED);
  begun.references.set_per_identity(2);
  begun.references.set_fusion_weight(0);
  begun.references.set_init(ReferencesConfig::RUN);
  begun.references.set_init_run(folder / "mixed");
  train(folder / "store", folder / "begun", 3, 1, begun);
  const NamedTensors inherited =
      read_safetensors(folder / "begun" + "/checkpoints/step_0000000001/references.safetensors");
  EXPECT_TRUE(find_tensor(inherited, "rows", "").equal(find_tensor(saved, "rows", "")));
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

// name -> row, of a run's checkpoint.
std::map<std::string, std::vector<float>> named_rows(const std::string& checkpoint) {
  const NamedRows names = read_named_rows(SafetensorsFile(checkpoint + "references.safetensors"));
  const at::Tensor rows = find_tensor(read_safetensors(checkpoint + "references.safetensors"), "rows", "");
  std::map<std::string, std::vector<float>> named;
  for (size_t i = 0; i < names.name.size(); ++i) {
    const auto* row = rows.const_data_ptr<float>() + static_cast<int64_t>(i) * rows.size(1);
    named[names.name[i]].assign(row, row + rows.size(1));
  }
  return named;
}

// The second store numbers its identities the other way round, lacks one and has four more.
TEST(ReferencesRun, BeginsWithAnotherRunsReferencesByName) {
  const TemporaryFolder folder;
  write_tiny_store(folder / "store", kIdentities);
  write_tiny_store(folder / "larger", kIdentities + 4);
  std::vector<int64_t> images;
  for (int64_t image = 2 * (kIdentities + 4) - 1; image >= 2; --image) images.push_back(image);
  copy_store(folder / "larger", folder / "other", images);
  const RunSettings first = settings_with(ReferencesConfig::SHARDED);
  train(folder / "store", folder / "first", 2, kSteps, first);
  const auto learned = named_rows(final_checkpoint(folder / "first"));
  ASSERT_EQ(learned.size(), 16U);
  for (const auto placement : {ReferencesConfig::REPLICATED, ReferencesConfig::SHARDED}) {
    for (const int ranks : {1, 3}) {
      RunSettings still = settings_with(placement);  // without fusion references do not move
      still.references.set_fusion_weight(0);
      const std::string suffix = std::to_string(placement) + std::to_string(ranks);
      train(folder / "other", folder / ("mean" + suffix), ranks, 1, still);
      still.references.set_init(ReferencesConfig::RUN);
      still.references.set_init_run(folder / "first");
      train(folder / "other", folder / ("run" + suffix), ranks, 1, still);
      const std::string step = "/checkpoints/step_0000000001/";
      const auto means = named_rows(folder / ("mean" + suffix) + step);
      const auto begun = named_rows(folder / ("run" + suffix) + step);
      ASSERT_EQ(begun.size(), 19U);
      for (const auto& [name, row] : begun) {
        const bool there = learned.count(name) != 0;
        EXPECT_EQ(there, std::stoi(name.substr(6)) < 16) << name;
        if (there) {
          EXPECT_EQ(row, learned.at(name)) << name;
        }
        // Other batches, other last bits.
        for (size_t c = 0; c < row.size() && !there; ++c) EXPECT_NEAR(row[c], means.at(name)[c], 1e-6) << name;
      }
      const NamedTensors saved = read_safetensors(folder / ("run" + suffix) + step + "references.safetensors");
      EXPECT_EQ(find_tensor(saved, "step", "").max().item<int64_t>(), 0);
    }
  }
}

TEST(ReferencesRun, InheritsOnlyOnceAndGoesOnByItself) {
  const TemporaryFolder folder;
  write_tiny_store(folder / "store", kIdentities);
  RunSettings settings = settings_with(ReferencesConfig::SHARDED);
  train(folder / "store", folder / "first", 1, 3, settings);
  settings.references.set_init(ReferencesConfig::RUN);
  settings.references.set_init_run(folder / "first");
  train(folder / "store", folder / "unbroken", 2, kSteps, settings);
  train(folder / "store", folder / "stopped", 2, 5, settings);
  std::filesystem::remove_all(folder / "first");
  train(folder / "store", folder / "stopped", 2, kSteps, settings);
  EXPECT_EQ(bytes_of(final_checkpoint(folder / "stopped") + "references.safetensors"),
            bytes_of(final_checkpoint(folder / "unbroken") + "references.safetensors"));
}

// Two stores that name their identities alike.
TEST(ReferenceNames, OfSeveralStoresMatchInOrderOrNotAtAll) {
  const TemporaryFolder folder;
  write_tiny_store(folder / "a", 8);
  write_tiny_store(folder / "b", 6);
  const Store a(folder / "a"), b(folder / "b");
  TrainingStores both(a), alone(b);
  both.add(b, 1);
  const ReferenceOrder of_both({0, 1, 2, 3, 8, 9}, 4), of_b({0, 1}, 5);
  NamedRows there;
  for (const int64_t identity : of_both.identities()) {
    there.identity.push_back(identity);
    there.name.push_back("thing " + std::to_string(identity % 8));
  }
  const ReferenceMatch same = match_references(there, of_both, both);
  EXPECT_EQ(same.identity_of, of_both.identities());
  EXPECT_TRUE(same.appeared.empty() && same.vanished.empty());
  const ReferenceMatch of_one = match_references(there, of_b, alone);
  EXPECT_EQ(of_one.appeared, (std::vector<int64_t>{0, 1}));
  EXPECT_EQ(of_one.new_names, (std::vector<std::string>{"thing 0", "thing 1"}));
  EXPECT_EQ(of_one.vanished.size(), 6U);
  EXPECT_EQ(of_one.identity_of, std::vector<int64_t>(6, -1));
}

TEST(ReferenceNames, AreRefusedWhereTheyDoNotAddUp) {
  const TemporaryFolder folder;
  write_tiny_store(folder / "store", 8);
  const Store store(folder / "store");
  const ReferenceOrder order({0, 1, 2}, 1);
  const NamedTensors names = reference_names(order, store);
  const std::string path = folder / "r.safetensors";
  const auto write = [&](const at::Tensor& offsets, int64_t rows) {
    write_safetensors(path, {{"rows", at::zeros({rows, 4})},
                             {"identity", at::zeros({3}, at::kLong)},
                             {"name.offsets", offsets},
                             {"name.bytes", find_tensor(names, "name.bytes", "")}});
  };
  const at::Tensor offsets = find_tensor(names, "name.offsets", "");
  write(offsets, 3);
  EXPECT_EQ(read_named_rows(SafetensorsFile(path)).name[1], "thing " + std::to_string(order.identity_of(1)));
  const auto refused = [&] { return error_of([&] { read_named_rows(SafetensorsFile(path)); }); };
  write(offsets, 2);
  EXPECT_THAT(refused(), HasSubstr("rows, identities and names are of other shapes"));
  write(offsets.narrow(0, 0, 3), 3);
  EXPECT_THAT(refused(), HasSubstr("of other shapes"));
  write(offsets.add(1), 3);
  EXPECT_THAT(refused(), HasSubstr("offsets do not fit their bytes"));
  const at::Tensor back = offsets.clone();
  back.data_ptr<int64_t>()[1] = 1000;
  write(back, 3);
  EXPECT_THAT(refused(), HasSubstr("offsets do not ascend"));
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
  const auto begin_with = [&](const std::string& run, int width) {
    RunSettings settings = with;
    settings.model.set_joint_width(width);
    settings.references.set_init(ReferencesConfig::RUN);
    settings.references.set_init_run(folder / run);
    return error_of([&] { train(folder / "store", folder / "begun", 1, 4, settings); });
  };
  EXPECT_EQ(begin_with("absent", 16),
            "references.init_run " + (folder / "absent") + " holds no run; give the folder of a muster train --run");
  EXPECT_EQ(begin_with("without", 16), "references.init_run " + (folder / "without") +
                                           " was trained without references; give another run, or set "
                                           "references.init to MEAN");
  EXPECT_EQ(begin_with("with", 8),
            "references.init_run " + (folder / "with") +
                " has references of width 16, this model's features have width 8; give a run with the same "
                "model.joint_width, or set references.init to MEAN");
  RunSettings two = with;
  two.references.set_per_identity(2);
  two.references.set_init(ReferencesConfig::RUN);
  two.references.set_init_run(folder / "with");
  EXPECT_EQ(error_of([&] { train(folder / "store", folder / "begun", 1, 4, two); }),
            "references.init_run " + (folder / "with") +
                " has 1 references an identity, references.per_identity is 2: give both runs the same");
}

}  // namespace
}  // namespace muster
