#include "trainer/checkpoint.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "launch/error.h"
#include "tests/support/small_disk.h"
#include "tests/support/temporary_folder.h"
#include "tests/trainer/checkpoint_fixture.h"
#include "trainer/checkpoint_layout.h"

namespace muster {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void overwrite(const std::string& path, const std::string& contents) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << contents;
}

void flip_bit(const std::string& path, size_t byte, int bit) {
  std::string contents = read(path);
  contents[byte] = static_cast<char>(contents[byte] ^ (1 << bit));
  overwrite(path, contents);
}

// What load_newest() gives, with what it said.
std::pair<std::optional<Snapshot>, std::string> load_newest(const std::string& run_dir) {
  testing::internal::CaptureStderr();
  std::optional<Snapshot> snapshot;
  std::string failure;
  try {
    snapshot = CheckpointStore(run_dir, keep(2)).load_newest();
  } catch (const DataError& error) {
    failure = error.what();
  }
  return {snapshot, testing::internal::GetCapturedStderr() + failure};
}

TEST(CheckpointTest, AnAverageOfTheWeightsIsSavedBesideThem) {
  TemporaryFolder run;
  Snapshot snapshot = snapshot_of(4);
  snapshot.ema = {{"image.weight", at::full({4, 6}, 0.25)}};
  CheckpointStore store(run.path(), keep(2));
  store.save_async(snapshot);
  store.save_async(snapshot_of(5));
  store.wait();
  expect_equal(store.load(4).ema, snapshot.ema);
  expect_is_step(store.load(4), 4);
  EXPECT_TRUE(store.load(5).ema.empty());
  EXPECT_FALSE(fs::exists(run / ("checkpoints/" + checkpoint_name(5) + "/ema.safetensors")));
  flip_bit(run / ("checkpoints/" + checkpoint_name(4) + "/ema.safetensors"), 90, 2);
  EXPECT_THROW(store.load(4), DataError);
}

TEST(CheckpointTest, GivesBackWhatWasSaved) {
  TemporaryFolder run;
  EXPECT_FALSE(CheckpointStore(run.path(), keep(2)).load_newest());
  save_steps(run.path(), {7});
  const auto snapshot = CheckpointStore(run.path(), keep(2)).load_newest();
  ASSERT_TRUE(snapshot);
  expect_is_step(*snapshot, 7);
  EXPECT_EQ(read(run / "checkpoints/LATEST"), "step_0000000007\n");
  EXPECT_THAT(files_in(run / "checkpoints/step_0000000007"),
              ElementsAre("config.textproto", "manifest.textproto", "model.safetensors", "optimizer.safetensors",
                          "state.textproto"));
}

TEST(CheckpointTest, SavesTheCopyNotWhatTrainingMakesOfIt) {
  TemporaryFolder run;
  Snapshot live = snapshot_of(1);
  CheckpointStore store(run.path(), keep(2));
  store.save_async(live);
  for (const auto& [name, tensor] : live.model) tensor.fill_(0);
  live.state.set_step(99);
  store.wait();
  expect_is_step(*store.load_newest(), 1);
}

TEST(CheckpointTest, AnotherShapeBetweenSavesIsTakenToo) {
  TemporaryFolder run;
  CheckpointStore store(run.path(), keep(2));
  store.save_async(snapshot_of(1));
  Snapshot wider = snapshot_of(2);
  wider.model[0].second = at::full({3, 50}, 2.5);
  store.save_async(wider);
  store.wait();
  EXPECT_TRUE(at::equal(store.load_newest()->model[0].second, wider.model[0].second));
}

TEST(CheckpointTest, RetentionKeepsTheNewestAndTheBest) {
  TemporaryFolder run;
  CheckpointStore store(run.path(), keep(2));
  for (const int64_t step : {10, 20, 30, 40, 50}) {
    store.save_async(snapshot_of(step));
    if (step == 20) store.protect_best(20);
  }
  store.wait();
  EXPECT_THAT(folders_in(run.path()), ElementsAre("step_0000000020", "step_0000000040", "step_0000000050"));
  store.protect_best(50);
  store.save_async(snapshot_of(60));
  store.wait();
  EXPECT_THAT(folders_in(run.path()), ElementsAre("step_0000000050", "step_0000000060"));
  expect_is_step(store.load(50), 50);
  EXPECT_THROW(store.load(20), DataError);
}

TEST(CheckpointTest, TheBestOfTheRunBeforeIsStillKeptAfterLoading) {
  TemporaryFolder run;
  Snapshot first = snapshot_of(10);
  {
    CheckpointStore store(run.path(), keep(2));
    store.protect_best(10);
    store.save_async(first);
    Snapshot second = snapshot_of(20);
    second.state.set_best_step(10);
    store.save_async(second);
  }
  CheckpointStore store(run.path(), keep(1));
  ASSERT_TRUE(store.load_newest());
  store.save_async(snapshot_of(30));
  store.wait();
  EXPECT_THAT(folders_in(run.path()), ElementsAre("step_0000000010", "step_0000000030"));
}

TEST(CheckpointTest, AStepSavedAnewReplacesTheOldOne) {
  TemporaryFolder run;
  save_steps(run.path(), {5, 6});
  Snapshot other = snapshot_of(6);
  other.config = "another";
  CheckpointStore store(run.path(), keep(2));
  store.save_async(other);
  store.wait();
  EXPECT_EQ(store.load_newest()->config, "another");
  EXPECT_THAT(folders_in(run.path()), ElementsAre("step_0000000005", "step_0000000006"));
}

TEST(CheckpointTest, AMissingStepIsNamedWithThoseThatAreThere) {
  TemporaryFolder run;
  save_steps(run.path(), {5, 6});
  try {
    CheckpointStore(run.path(), keep(2)).load(7);
    FAIL();
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr("has no checkpoint of step 7; it has: 6, 5"));
  }
}

TEST(CheckpointTest, AFlippedBitAnywhereIsNoticed) {
  TemporaryFolder run;
  save_steps(run.path(), {5});
  const std::string folder = run / "checkpoints/step_0000000005";
  for (const std::string& name : files_in(folder)) {
    const size_t bytes = read(folder + "/" + name).size();
    const size_t stride = name == kManifestFile ? 1 : 7;
    for (size_t byte = 0; byte < bytes; byte += stride) {
      const int bit = static_cast<int>(byte * 7 % 8);
      flip_bit(folder + "/" + name, byte, bit);
      EXPECT_THROW(read_checkpoint(folder), DataError) << name << " byte " << byte;
      flip_bit(folder + "/" + name, byte, bit);
    }
  }
  expect_is_step(read_checkpoint(folder), 5);
}

TEST(CheckpointTest, DamageInAnyFileStepsBackWithOneLine) {
  for (const char* const name : {kModelFile, kOptimizerFile, kStateFile, kConfigFile, kManifestFile}) {
    for (const char* const damage : {"flipped", "truncated", "longer", "missing", "empty", "folder"}) {
      TemporaryFolder run;
      save_steps(run.path(), {5, 6});
      const std::string path = run / "checkpoints/step_0000000006/" + name;
      const std::string whole = read(path), kind = damage;
      if (kind == "flipped") flip_bit(path, whole.size() / 2, 3);
      if (kind == "truncated") overwrite(path, whole.substr(0, whole.size() - 1));
      if (kind == "longer") overwrite(path, whole + " ");
      if (kind == "missing" || kind == "folder") fs::remove(path);
      if (kind == "empty") overwrite(path, "");
      if (kind == "folder") fs::create_directory(path);
      const auto [snapshot, said] = load_newest(run.path());
      ASSERT_TRUE(snapshot) << name << " " << damage;
      expect_is_step(*snapshot, 5);
      EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1) << said;
      EXPECT_THAT(said, AllOf(HasSubstr("checkpoint step_0000000006 is damaged, trying the one before it"),
                              HasSubstr(std::string("step_0000000006/") + name)));
    }
  }
}

TEST(CheckpointTest, ADamagedOneIsRemovedOnceANewerOneIsWhole) {
  TemporaryFolder run;
  save_steps(run.path(), {5, 6});
  flip_bit(run / "checkpoints/step_0000000006/model.safetensors", 100, 0);
  CheckpointStore store(run.path(), keep(2));
  testing::internal::CaptureStderr();
  expect_is_step(*store.load_newest(), 5);
  testing::internal::GetCapturedStderr();
  store.save_async(snapshot_of(5));
  store.wait();
  EXPECT_THAT(folders_in(run.path()), ElementsAre("step_0000000005"));
}

TEST(CheckpointTest, AllDamagedIsAnErrorNotANewStart) {
  TemporaryFolder run;
  save_steps(run.path(), {5, 6});
  for (const char* const step : {"step_0000000005", "step_0000000006"}) {
    fs::remove(run / "checkpoints/" + step + "/state.textproto");
  }
  const auto [snapshot, said] = load_newest(run.path());
  EXPECT_FALSE(snapshot);
  EXPECT_THAT(said, HasSubstr("none of the 2 checkpoints"));
}

TEST(CheckpointTest, LatestIsNotNeeded) {
  for (const char* const latest :
       std::vector<const char*>{"", "step_0000000004\n", "rubbish", "step_0000000099\n", nullptr}) {
    TemporaryFolder run;
    save_steps(run.path(), {5, 6});
    const std::string path = run / "checkpoints/LATEST";
    if (latest == nullptr) {
      fs::remove(path);
    } else {
      overwrite(path, latest);
    }
    const auto [snapshot, said] = load_newest(run.path());
    ASSERT_TRUE(snapshot);
    expect_is_step(*snapshot, 6);
    const bool names_a_newer_one = latest != nullptr && std::strstr(latest, "99") != nullptr;
    EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), names_a_newer_one ? 1 : 0) << said;
  }
}

TEST(CheckpointTest, LatestThatCannotBeWrittenIsNoFailure) {
  TemporaryFolder run;
  fs::create_directories(run / "checkpoints/LATEST");
  testing::internal::CaptureStderr();
  save_steps(run.path(), {5});
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_THAT(said, HasSubstr("the checkpoint of step 5 is saved, but LATEST does not name it: "));
  EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1) << said;
  expect_is_step(*load_newest(run.path()).first, 5);
}

TEST(CheckpointTest, AnotherStepsNameIsDamage) {
  TemporaryFolder run;
  save_steps(run.path(), {5, 6});
  fs::rename(run / "checkpoints/step_0000000005", run / "checkpoints/step_0000000009");
  const auto [snapshot, said] = load_newest(run.path());
  expect_is_step(*snapshot, 6);
  EXPECT_THAT(said, HasSubstr("step_0000000009 holds the checkpoint of step 5"));
}

TEST(CheckpointTest, AManifestOfOtherFilesIsRefused) {
  for (const char* const name : {"../../elsewhere", "model.safetensors", ""}) {
    TemporaryFolder run;
    save_steps(run.path(), {5});
    const std::string folder = run / "checkpoints/step_0000000005";
    rewrite_manifest(folder + "/manifest.textproto", "step: 5\n",
                     std::string("step: 5\nfile { name: \"") + name + "\" bytes: 0 xxh3_128: \"\" }\n");
    EXPECT_THROW(read_checkpoint(folder), DataError) << name;
  }
}

TEST(CheckpointTest, TheNewestWholeConfigIsFoundWithoutTheRest) {
  TemporaryFolder run;
  EXPECT_FALSE(CheckpointStore::newest_config(run.path()));
  save_steps(run.path(), {5, 6});
  overwrite(run / "checkpoints/step_0000000006/model.safetensors",
            read(run / "checkpoints/step_0000000005/model.safetensors"));
  EXPECT_EQ(*CheckpointStore::newest_config(run.path()), snapshot_of(6).config);
  flip_bit(run / "checkpoints/step_0000000006/config.textproto", 3, 1);
  EXPECT_EQ(*CheckpointStore::newest_config(run.path()), snapshot_of(5).config);
}

TEST(CheckpointTest, ANewerFormatIsNotGuessedAt) {
  TemporaryFolder run;
  save_steps(run.path(), {5, 6});
  const std::string path = run / "checkpoints/step_0000000006/manifest.textproto";
  rewrite_manifest(path, "format: 1", "format: 2");
  const auto [snapshot, said] = load_newest(run.path());
  expect_is_step(*snapshot, 5);
  EXPECT_THAT(said, HasSubstr("has format 2; this program reads format 1"));
}

TEST(CheckpointTest, LeftoversOfKilledWritersGoWithTheNextSave) {
  TemporaryFolder run;
  save_steps(run.path(), {5});
  const std::string folder = run / "checkpoints/";
  fs::create_directory(folder + "step_0000000006.partial");
  overwrite(folder + "step_0000000006.partial/model.safetensors", "half");
  fs::create_directory(folder + "step_0000000003.removed");
  fs::create_directory(folder + "notes of mine");
  fs::rename(folder + "step_0000000005", folder + "step_0000000005.replaced");
  CheckpointStore store(run.path(), keep(2));
  expect_is_step(*store.load_newest(), 5);
  store.save_async(snapshot_of(7));
  store.wait();
  EXPECT_THAT(folders_in(run.path()), ElementsAre("notes of mine", "step_0000000005", "step_0000000007"));
}

TEST(CheckpointTest, AFailedWriteSurfacesOnceAtTheNextCall) {
  TemporaryFolder run;
  overwrite(run / "checkpoints", "a file where the folder should be");
  CheckpointStore store(run.path(), keep(2));
  store.save_async(snapshot_of(1));
  try {
    store.wait();
    FAIL() << "saved into a file";
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr("there is none before it, the same command begins anew"));
  }
  store.wait();
  store.save_async(snapshot_of(1));
  EXPECT_THROW(store.save_async(snapshot_of(2)), DataError);
  fs::remove(run / "checkpoints");
  store.save_async(snapshot_of(3));
  store.wait();
  expect_is_step(*store.load_newest(), 3);
}

TEST(CheckpointTest, ReadsFormat1AsAnEarlierCommitWroteIt) {
  expect_is_step(read_checkpoint(MUSTER_SOURCE_DIR "/tests/golden/checkpoint_v1"), 7);
}

TEST(CheckpointTest, AFullDiskLeavesTheCheckpointBefore) {
  TemporaryFolder run;
  const SmallDisk disk(run.path(), "512k");
  if (!disk.mounted()) GTEST_SKIP() << disk.reason();
  save_steps(run.path(), {5});
  Snapshot large = snapshot_of(6);
  large.model.emplace_back("large", at::full({1 << 17}, 1.5));
  CheckpointStore store(run.path(), keep(2));
  store.save_async(large);
  try {
    store.wait();
    FAIL() << "524 kB on a disk of 512 kB";
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("checkpoint of step 6 could not be saved"),
                                    HasSubstr("No space left on device"), HasSubstr("free some space"),
                                    HasSubstr("continues from " + run / "checkpoints/step_0000000005")));
  }
  EXPECT_THAT(folders_in(run.path()), ElementsAre("step_0000000005"));
  expect_is_step(*store.load_newest(), 5);
  store.save_async(snapshot_of(6));
  store.wait();
  expect_is_step(*store.load_newest(), 6);
}

TEST(CheckpointTest, SlowTwoHundredMegabytes) {
  TemporaryFolder run;
  Snapshot live;
  live.state.set_step(1);
  for (int i = 0; i < 25; ++i) {
    const std::string name = "layer" + std::to_string(i);
    live.model.emplace_back(name, at::full({17, 39217}, 0.25 * i));
    live.optimizer.emplace_back(name + ".exp_avg", at::full({17, 39217}, 0.5 * i));
    live.optimizer.emplace_back(name + ".exp_avg_sq", at::full({17, 39217}, 0.75 * i));
  }
  CheckpointStore store(run.path(), keep(1));
  using Clock = std::chrono::steady_clock;
  const auto seconds_since = [](Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  for (const char* const which : {"first", "second"}) {
    store.save_async(live);
    const double copied = store.last_copy_seconds();
    const Clock::time_point start = Clock::now();
    store.wait();
    std::printf("200 MB, %s save: copy %.3f s, write %.3f s\n", which, copied, seconds_since(start));
    live.state.set_step(2);
  }
  const Clock::time_point start = Clock::now();
  const auto loaded = store.load_newest();
  std::printf("200 MB: load %.3f s\n", seconds_since(start));
  ASSERT_EQ(loaded->optimizer.size(), live.optimizer.size());
  for (size_t i = 0; i < live.optimizer.size(); ++i) {
    EXPECT_TRUE(at::equal(loaded->optimizer[i].second, live.optimizer[i].second));
  }
}

}  // namespace
}  // namespace muster
