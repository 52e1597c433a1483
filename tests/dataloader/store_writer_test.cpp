// What is on the disk when a writer is refused, stopped, killed, or the disk is full.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/dataloader/sample_store.h"
#include "tests/support/temporary_folder.h"

namespace muster {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

constexpr int64_t kSmallShard = 1000;

size_t entries(const std::string& folder) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

TEST(StoreWriter, LeavesAnExistingFolderAlone) {
  const TemporaryFolder folder;
  fs::create_directory(folder / "s");
  write_text(folder / "s/precious.txt", "mine");
  EXPECT_THAT(error_of([&] { StoreWriter{folder / "s"}; }), HasSubstr("exists already"));
  EXPECT_EQ(entries(folder.path()), 1U);
  fs::remove(folder / "s/precious.txt");
  write_store(folder / "s/", sample_records(3), kSmallShard);  // an empty folder is taken, a trailing slash is none
  EXPECT_EQ(Store(folder / "s").images(), 3);
  EXPECT_THAT(error_of([&] { StoreWriter{folder / "absent/s"}; }), HasSubstr("No such file or directory"));
}

TEST(StoreWriter, RemovesItsPartialFolderIfNotFinished) {
  const TemporaryFolder folder;
  {
    StoreWriter writer(folder / "s", StoreWriter::Options{kSmallShard});
    for (const StoreRecord& record : sample_records(60)) writer.add(record);
    EXPECT_TRUE(fs::exists(folder / "s.partial/shard-00001.h5"));
    EXPECT_FALSE(fs::exists(folder / "s"));
  }
  EXPECT_EQ(entries(folder.path()), 0U);
}

TEST(StoreWriter, NothingToWriteIsAnError) {
  const TemporaryFolder folder;
  StoreWriter writer(folder / "s");
  EXPECT_THAT(error_of([&] { writer.finish(); }), HasSubstr("no image"));
  EXPECT_EQ(entries(folder.path()), 0U);
}

TEST(StoreWriter, TwoCannotWriteOneStore) {
  const TemporaryFolder folder;
  StoreWriter writer(folder / "s");
  writer.add(sample_records(1)[0]);
  EXPECT_THAT(error_of([&] { StoreWriter{folder / "s"}; }), HasSubstr("another process"));
  writer.finish();
  EXPECT_EQ(Store(folder / "s").images(), 1);
}

TEST(StoreWriter, DeletesOnlyWhatAnImportLeft) {
  const TemporaryFolder folder;
  fs::create_directory(folder / "s.partial");
  write_text(folder / "s.partial/thesis.tex", "mine");
  EXPECT_THAT(error_of([&] { StoreWriter{folder / "s"}; }),
              AllOf(HasSubstr("thesis.tex"), HasSubstr("remove the folder")));
  EXPECT_TRUE(fs::exists(folder / "s.partial/thesis.tex"));
}

// Runs `body` in a child process and gives its wait status.
template <typename Body>
int status_of_child(const Body& body) {
  const pid_t child = fork();
  if (child == 0) {
    body();
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return status;
}

TEST(StoreWriter, KilledAtAnyImageLeavesOnlyAPartialFolder) {
  const TemporaryFolder folder;
  const auto records = sample_records(60);
  for (size_t killed_after = 0; killed_after <= records.size(); killed_after += 6) {
    const int status = status_of_child([&] {
      StoreWriter writer(folder / "s", StoreWriter::Options{kSmallShard});
      for (size_t i = 0; i < killed_after; ++i) writer.add(records[i]);
      kill(getpid(), SIGKILL);
    });
    ASSERT_TRUE(WIFSIGNALED(status));
    EXPECT_FALSE(fs::exists(folder / "s"));
    EXPECT_THAT(error_of([&] { Store{folder / "s"}; }), HasSubstr("run the import again"));
  }
  // Fewer shards than the killed ones left: none of those may stay.
  write_store(folder / "undisturbed", sample_records(12), kSmallShard);
  write_store(folder / "s", sample_records(12), kSmallShard);
  EXPECT_EQ(folder_contents(folder / "s"), folder_contents(folder / "undisturbed"));
  EXPECT_FALSE(fs::exists(folder / "s.partial"));
}

enum Outcome { kWritten = 0, kRefused = 10, kLeftSomething = 11, kCannotRun = 12, kOtherError = 13 };

// In a child: tries to write a store in `folder` and looks at what is there afterwards.
Outcome try_to_write(const std::string& folder, const std::vector<StoreRecord>& records) {
  try {
    StoreWriter writer(folder + "/s", StoreWriter::Options{int64_t{1} << 17});
    for (const StoreRecord& record : records) writer.add(record);
    writer.finish();
  } catch (const DataError&) {
    return fs::is_empty(folder) ? kRefused : kLeftSomething;
  } catch (...) {
    return kOtherError;
  }
  return error_of([&] { Store(folder + "/s").verify(); }).empty() ? kWritten : kOtherError;
}

TEST(StoreWriter, AFileSizeLimitIsReportedAndNothingIsLeft) {
  const TemporaryFolder folder;
  const auto records = sample_records(4000);
  std::vector<int> outcomes;
  for (rlim_t limit = 1024; limit < (1 << 20); limit += limit / 3) {
    const std::string target = folder / std::to_string(limit);
    fs::create_directory(target);
    const int status = status_of_child([&] {
      signal(SIGXFSZ, SIG_IGN);
      const rlimit sizes{limit, limit};
      setrlimit(RLIMIT_FSIZE, &sizes);
      _exit(try_to_write(target, records));
    });
    ASSERT_TRUE(WIFEXITED(status)) << limit;
    outcomes.push_back(WEXITSTATUS(status));
  }
  EXPECT_THAT(outcomes, testing::Each(testing::AnyOf(int{kRefused}, int{kWritten})));
  EXPECT_EQ(outcomes.front(), kRefused);
  EXPECT_EQ(outcomes.back(), kWritten);
}

// A disk of each size from nearly nothing to enough, in a mount namespace of the child's own.
TEST(StoreWriter, AFullDiskIsReportedAndNothingIsLeft) {
  const TemporaryFolder folder;
  const auto records = sample_records(4000);
  std::vector<int> outcomes;
  for (int kib = 8; kib < 2048; kib += 8 + kib / 8) {
    const int status = status_of_child([&] {
      const std::string size = "size=" + std::to_string(kib) + "k";
      const bool mounted = unshare(CLONE_NEWNS) == 0 &&
                           mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                           mount("none", folder.path().c_str(), "tmpfs", 0, size.c_str()) == 0;
      _exit(mounted ? try_to_write(folder.path(), records) : kCannotRun);
    });
    ASSERT_TRUE(WIFEXITED(status)) << kib;
    outcomes.push_back(WEXITSTATUS(status));
  }
  if (outcomes.front() == kCannotRun) GTEST_SKIP() << "mounting a small tmpfs is not allowed here";
  EXPECT_THAT(outcomes, testing::Each(testing::AnyOf(int{kRefused}, int{kWritten})));
  EXPECT_EQ(outcomes.front(), kRefused);
  EXPECT_EQ(outcomes.back(), kWritten);
}

}  // namespace
}  // namespace muster
