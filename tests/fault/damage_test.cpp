// Damage to files that the program trusts, at places drawn from a seed: a bit, the end or the whole file. Each is
// found, none ends the program otherwise than by one line, none is loaded.
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "dataloader/store.h"
#include "launch/error.h"
#include "tests/support/child_process.h"
#include "tests/support/file_bytes.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_store.h"
#include "tests/trainer/checkpoint_fixture.h"

namespace muster {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

constexpr int kMutations = 1000;

// One damaged file; the destructor mends it.
class Damage {
 public:
  Damage(const std::vector<std::string>& files, std::mt19937& random) : path_(files[random() % files.size()]) {
    whole_ = read_bytes(path_);
    const unsigned kind = random() % 4;
    if (kind == 0) {
      fs::remove(path_);
      what_ = "deleted";
    } else if (kind == 1 && !whole_.empty()) {
      fs::resize_file(path_, random() % whole_.size());
      what_ = "truncated to " + std::to_string(fs::file_size(path_));
    } else {
      std::vector<uint8_t> bytes = whole_;
      const size_t bit = random() % (bytes.size() * 8);
      bytes[bit / 8] = static_cast<uint8_t>(bytes[bit / 8] ^ (1U << bit % 8));
      write_bytes(path_, bytes);
      what_ = "bit " + std::to_string(bit) + " flipped";
    }
  }
  ~Damage() { write_bytes(path_, whole_); }
  Damage(const Damage&) = delete;
  Damage& operator=(const Damage&) = delete;

  std::string describe() const { return path_ + ": " + what_; }

 private:
  std::string path_, what_;
  std::vector<uint8_t> whole_;
};

std::vector<std::string> paths_in(const std::string& folder) {
  std::vector<std::string> paths;
  for (const std::string& name : files_in(folder)) paths.push_back(folder + "/" + name);
  return paths;
}

int64_t count_lines(const std::string& text) {
  return std::count(text.begin(), text.end(), '\n');
}

Snapshot whole_snapshot(int64_t step) {
  Snapshot snapshot = snapshot_of(step);
  snapshot.ema = {{"image.weight", at::full({4, 6}, 0.25)}};
  snapshot.references = {{"rows", at::arange(12, at::TensorOptions(at::kFloat)).view({3, 4})},
                         {"identity", at::arange(3, at::TensorOptions(at::kLong))}};
  return snapshot;
}

TEST(DamageTest, AThousandOfTheNewestCheckpointAreFound) {
  TemporaryFolder run;
  {
    CheckpointStore store(run.path(), keep(2));
    for (const int64_t step : {5, 6}) store.save_async(whole_snapshot(step));
  }
  const std::vector<std::string> files = paths_in(run / "checkpoints/step_0000000006");
  ASSERT_EQ(files.size(), 7U);
  std::mt19937 random(7);
  int found = 0;
  for (int i = 0; i < kMutations; ++i) {
    const Damage damage(files, random);
    SCOPED_TRACE(damage.describe());
    testing::internal::CaptureStderr();
    const std::optional<Snapshot> snapshot = CheckpointStore(run.path(), keep(2)).load_newest();
    const std::string said = testing::internal::GetCapturedStderr();
    ASSERT_TRUE(snapshot);
    expect_is_step(*snapshot, 5);
    expect_equal(snapshot->ema, whole_snapshot(5).ema);
    EXPECT_EQ(count_lines(said), 1) << said;
    EXPECT_THAT(said, HasSubstr("checkpoint step_0000000006 is damaged, trying the one before it: "));
    if (snapshot->state.step() == 5 && count_lines(said) == 1) ++found;
  }
  EXPECT_EQ(CheckpointStore(run.path(), keep(2)).load_newest()->state.step(), 6);
  std::printf("checkpoint: %d of %d found\n", found, kMutations);
}

// All that training takes from a store.
void read_all(const std::string& path) {
  const Store store(path);
  for (int64_t image = 0; image < store.images(); ++image) store.image_bytes(image);
}

TEST(DamageTest, AThousandOfAStoreAreFound) {
  TemporaryFolder folder;
  write_tiny_store(folder / "store", 20);
  const std::vector<std::string> files = paths_in(folder / "store");
  ASSERT_GE(files.size(), 2U);
  std::mt19937 random(8);
  int found = 0;
  for (int i = 0; i < kMutations; ++i) {
    const Damage damage(files, random);
    SCOPED_TRACE(damage.describe());
    EXPECT_THROW(read_all(folder / "store"), DataError);
    try {
      Store(folder / "store").verify();
    } catch (const DataError& error) {
      EXPECT_EQ(count_lines(error.what()), 0) << error.what();
      ++found;
    }
  }
  EXPECT_EQ(found, kMutations);
  EXPECT_NO_THROW(read_all(folder / "store"));
  std::printf("store: %d of %d found\n", found, kMutations);
}

constexpr char kConfig[] = R"(
model {
  preset: MINI
  image { width_pixels: 16 height_pixels: 16 width: 24 layers: 1 heads: 2 }
  text { context: 12 width: 24 layers: 1 heads: 2 }
  joint_width: 16
}
objective { term { info_nce {} } }
train { global_batch: 8 steps: 6 threads: 1 log_every: 1 checkpoint { every: 2 keep_last: 2 } }
)";

// The real command, on a run that stands after step 4 of 6.
class DamagedRunTest : public testing::Test {
 protected:
  DamagedRunTest() {
    write_tiny_store(folder_ / "store", 12);
    std::ofstream(folder_ / "config.textproto") << kConfig;
  }
  void SetUp() override {
    ASSERT_EQ(run_program(train("unbroken")).exit_code, 0);
    ASSERT_EQ(run_program(train("base", {"--stop-after", "4"})).exit_code, 75);
  }

  std::vector<std::string> train(const std::string& run, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> command = {muster_program(), "train",           "--config", folder_ / "config.textproto",
                                        "--data",         folder_ / "store", "--run",    folder_ / run};
    command.insert(command.end(), more.begin(), more.end());
    return command;
  }

  std::string copy_base() const {
    fs::remove_all(folder_ / "run");
    fs::copy(folder_ / "base", folder_ / "run", fs::copy_options::recursive);
    return folder_ / "run/";
  }

  // Goes on to the end, whose bits are those of the unbroken run; returns what it said.
  std::string finish() const {
    const ProgramResult result = run_program(train("run"));
    EXPECT_EQ(result.exit_code, 0) << result.output;
    for (const char* name : {"model.safetensors", "optimizer.safetensors", "state.textproto", "config.textproto"}) {
      const std::string path = std::string("/checkpoints/step_0000000006/") + name;
      EXPECT_EQ(read_bytes(folder_ / ("run" + path)), read_bytes(folder_ / ("unbroken" + path))) << name;
    }
    return result.output;
  }

  // Of any file below these paths of the run.
  void walk(const std::vector<std::string>& below, int mutations, const std::string& needed) const {
    std::mt19937 random(9);
    for (int i = 0; i < mutations; ++i) {
      const std::string run = copy_base();
      std::vector<std::string> files;
      for (const std::string& path : below) {
        if (fs::is_regular_file(run + path)) files.push_back(run + path);
        if (!fs::is_directory(run + path)) continue;
        for (const auto& entry : fs::directory_iterator(run + path)) files.push_back(entry.path());
      }
      std::sort(files.begin(), files.end());
      std::optional<Damage> damage(std::in_place, files, random);
      SCOPED_TRACE(damage->describe());
      EXPECT_THAT(finish(), HasSubstr(needed));
      // What is there now is the run's.
      fs::remove_all(folder_ / "run");
      fs::create_directories(fs::path(files[0]).parent_path());
      for (const std::string& file : files) fs::create_directories(fs::path(file).parent_path());
      damage.reset();
    }
  }

  TemporaryFolder folder_;
};

TEST_F(DamagedRunTest, OfTheNewestCheckpoint) {
  walk({"checkpoints/step_0000000004"}, 4, "checkpoint step_0000000004 is damaged, trying the one before it: ");
}

TEST_F(DamagedRunTest, OfTheNewestCheckpointSlow) {
  walk({"checkpoints/step_0000000004"}, 60, "checkpoint step_0000000004 is damaged, trying the one before it: ");
}

// Under no hash: the newest checkpoint's hold what counts of them.
TEST_F(DamagedRunTest, OfWhatLiesBesideTheCheckpoints) {
  walk({"config.textproto", "metrics.jsonl", "lock", "tensorboard", "checkpoints/LATEST"}, 4, "continuing ");
}

TEST_F(DamagedRunTest, OfWhatLiesBesideTheCheckpointsSlow) {
  walk({"config.textproto", "metrics.jsonl", "lock", "tensorboard", "checkpoints/LATEST"}, 60, "continuing ");
}

TEST_F(DamagedRunTest, AConfigThatSaysOtherwiseIsNotGoneBy) {
  const std::string path = copy_base() + "config.textproto";
  const std::vector<uint8_t> bytes = read_bytes(path);
  std::string text(bytes.begin(), bytes.end());
  text.replace(text.find("global_batch: 8"), 15, "global_batch: 9");
  std::ofstream(path) << text;
  const std::string said = finish();
  EXPECT_THAT(said, HasSubstr("run/config.textproto is damaged, going by the newest checkpoint's: "));
  EXPECT_THAT(said, HasSubstr("train.global_batch is 8 there and 9 here"));
}

TEST_F(DamagedRunTest, ACheckpointUnderANewerStepsName) {
  const std::string checkpoints = copy_base() + "checkpoints/";
  fs::copy(checkpoints + "step_0000000002", checkpoints + "step_0000000009", fs::copy_options::recursive);
  EXPECT_THAT(finish(), HasSubstr("step_0000000009 is damaged, trying the one before it: "));
  EXPECT_FALSE(fs::exists(checkpoints + "step_0000000009"));
}

TEST_F(DamagedRunTest, ForeignFilesAmongTheCheckpointsAreLeftAlone) {
  const std::string checkpoints = copy_base() + "checkpoints/";
  std::ofstream(checkpoints + "step_0000000008") << "a file of somebody's";
  std::ofstream(checkpoints + "notes") << "mine";
  std::ofstream(checkpoints + "step_0000000004/notes") << "mine too";
  fs::create_directory(checkpoints + "step_00000000007");  // a digit too many
  fs::create_directory_symlink(folder_ / "store", checkpoints + "elsewhere");
  fs::create_directory_symlink("step_0000000004", checkpoints + "best");
  EXPECT_THAT(finish(), Not(HasSubstr("damaged")));
  for (const char* name : {"step_0000000008", "notes", "step_00000000007", "elsewhere", "best"}) {
    EXPECT_TRUE(fs::exists(fs::symlink_status(checkpoints + name))) << name;
  }
  EXPECT_EQ(files_in(folder_ / "store").size(), 2U);
}

// A checkpoint that is a link is another's: what it points to is read, and stays.
TEST_F(DamagedRunTest, ACheckpointThatIsALink) {
  const std::string checkpoints = copy_base() + "checkpoints/";
  fs::rename(checkpoints + "step_0000000004", folder_ / "elsewhere");
  fs::create_directory_symlink(folder_ / "elsewhere", checkpoints + "step_0000000004");
  EXPECT_THAT(finish(), HasSubstr("continuing "));
  EXPECT_TRUE(fs::exists(folder_ / "elsewhere/model.safetensors"));
}

}  // namespace
}  // namespace muster
