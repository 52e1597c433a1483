// A failure, and a sudden death, at every change that saving makes to the disk.
//
// The program's own open, write, fsync, rename, mkdir and unlinkat stand before the C library's: they pass calls on,
// count them, and at the n-th they fail or end the process. So the code under test has no seam for this, and every call
// is met, those of the standard library too.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <mutex>

#include "launch/error.h"
#include "tests/support/temporary_folder.h"
#include "tests/trainer/checkpoint_fixture.h"

namespace {

enum class Fault { kNone, kError, kDeath, kOtherBytes };

std::atomic<bool> syncing{true};
std::atomic<bool> counting{false};
std::atomic<int> calls{0};
std::atomic<int> faulty_call{-1};
std::atomic<Fault> fault{Fault::kNone};
std::mutex journal_mutex;
std::vector<std::string> journal;  // "fsync step_0000000003.partial/model.safetensors.partial"

std::string short_name(const std::string& path) {
  const size_t at = path.find("/checkpoints");
  return at == std::string::npos ? path : path.substr(at + 1);
}

std::string name_of(int descriptor) {
  char path[4096];
  const std::string link = "/proc/self/fd/" + std::to_string(descriptor);
  const ssize_t size = readlink(link.c_str(), path, sizeof path);
  return short_name(std::string(path, size > 0 ? static_cast<size_t>(size) : 0));
}

// True if this call must fail (errno is set then). Does not return if the process must die.
bool meets_fault(const std::string& what) {
  if (!counting) return false;
  {
    const std::lock_guard<std::mutex> lock(journal_mutex);
    journal.push_back(what);
  }
  if (calls++ != faulty_call) return false;
  if (fault == Fault::kDeath) _exit(137);
  if (fault == Fault::kOtherBytes) return false;
  errno = ENOSPC;
  return true;
}

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
  mode_t mode = 0;
  if ((flags & O_CREAT) != 0) {
    va_list arguments;
    va_start(arguments, flags);
    mode = va_arg(arguments, mode_t);
    va_end(arguments);
    if (meets_fault("create " + short_name(path))) return -1;
  }
  return static_cast<int>(syscall(SYS_openat, AT_FDCWD, path, flags, mode));
}

ssize_t write(int descriptor, const void* data, size_t size) {
  std::string other;
  if (counting && calls == faulty_call && fault == Fault::kOtherBytes) {
    other.assign(static_cast<const char*>(data), size);
    other[size / 2] = static_cast<char>(other[size / 2] ^ 4);
    data = other.data();
  } else if (counting && calls == faulty_call)
    size /= 2;  // the first half arrives
  const ssize_t written = size == 0 ? 0 : syscall(SYS_write, descriptor, data, size);
  return counting && meets_fault("write " + name_of(descriptor)) ? -1 : written;
}

// Nothing here needs the disk to spin: what is checked is that fsync is called, and when.
int fsync(int descriptor) {
  return meets_fault("fsync " + name_of(descriptor)) ? -1 : 0;
}

int rename(const char* from, const char* to) noexcept {
  if (meets_fault("rename " + short_name(to))) return -1;
  return static_cast<int>(syscall(SYS_rename, from, to));
}

int mkdir(const char* path, mode_t mode) noexcept {
  if (meets_fault("mkdir " + short_name(path))) return -1;
  return static_cast<int>(syscall(SYS_mkdir, path, mode));
}

int unlinkat(int folder, const char* name, int flags) noexcept {
  if (meets_fault(std::string("unlink ") + name)) return -1;
  return static_cast<int>(syscall(SYS_unlinkat, folder, name, flags));
}

}  // extern "C"

namespace muster {
namespace {

// The disk need not follow: what is checked is that fsync is called, and when.
class WithoutSync : public testing::Test {
 protected:
  void SetUp() override { syncing = false; }
  void TearDown() override {
    counting = false;
    syncing = true;
  }
};

void arm(Fault kind, int call) {
  fault = kind;
  faulty_call = call;
  calls = 0;
  journal.clear();
  counting = true;
}

void save(const std::string& run_dir, const Snapshot& snapshot) {
  CheckpointStore store(run_dir, keep(2));
  store.save_async(snapshot);
  store.wait();
}

// After a fault in saving `snapshot` over steps 1 and 2: the newest whole checkpoint loads, and the next save goes
// through and leaves nothing else behind.
void expect_whole(const std::string& run_dir, bool saved, int call, bool same_step) {
  SCOPED_TRACE("fault at call " + std::to_string(call) + (journal.empty() ? "" : ": " + journal.back()));
  const auto snapshot = CheckpointStore(run_dir, keep(2)).load_newest();
  ASSERT_TRUE(snapshot);
  if (same_step) {
    EXPECT_EQ(snapshot->state.step(), 2);
    EXPECT_TRUE(snapshot->config == "anew" || (!saved && snapshot->config == snapshot_of(2).config));
  } else {
    EXPECT_TRUE(snapshot->state.step() == 3 || (!saved && snapshot->state.step() == 2));
    expect_is_step(*snapshot, snapshot->state.step());
  }
  save(run_dir, snapshot_of(4));
  expect_is_step(*CheckpointStore(run_dir, keep(2)).load_newest(), 4);
  const std::vector<std::string> folders = folders_in(run_dir);
  ASSERT_EQ(folders.size(), 2U) << testing::PrintToString(folders);
  EXPECT_EQ(folders[1], "step_0000000004");
  EXPECT_THAT(folders[0], testing::ContainsRegex("step_000000000[23]$"));
}

Snapshot next_snapshot(bool same_step) {
  Snapshot snapshot = snapshot_of(same_step ? 2 : 3);
  if (same_step) snapshot.config = "anew";
  return snapshot;
}

int count_calls(bool same_step) {
  TemporaryFolder run;
  save_steps(run.path(), {1, 2});
  arm(Fault::kNone, -1);
  save(run.path(), next_snapshot(same_step));
  counting = false;
  return calls;
}

class EveryCallTest : public WithoutSync, public testing::WithParamInterface<bool> {};

TEST_P(EveryCallTest, Fails) {
  const bool same_step = GetParam();
  const int total = count_calls(same_step);
  ASSERT_GT(total, 30);
  testing::internal::CaptureStderr();
  for (int call = 0; call < total; ++call) {
    TemporaryFolder run;
    save_steps(run.path(), {1, 2});
    bool saved = true;
    arm(Fault::kError, call);
    try {
      save(run.path(), next_snapshot(same_step));
    } catch (const DataError& error) {
      saved = false;
      EXPECT_THAT(error.what(), testing::HasSubstr("No space left on device"));
    }
    counting = false;
    for (const std::string& folder : folders_in(run.path())) {
      EXPECT_TRUE(saved || folder.find(".partial") == std::string::npos) << "call " << call;
    }
    expect_whole(run.path(), saved, call, same_step);
  }
  // Only failures to remove old ones are no error, and they are warned of.
  EXPECT_THAT(testing::internal::GetCapturedStderr(), testing::HasSubstr("an old checkpoint stays"));
}

TEST_P(EveryCallTest, IsTheLast) {
  const bool same_step = GetParam();
  const int total = count_calls(same_step);
  for (int call = 0; call < total; ++call) {
    TemporaryFolder run;
    save_steps(run.path(), {1, 2});
    const pid_t child = fork();
    if (child == 0) {
      arm(Fault::kDeath, call);
      save(run.path(), next_snapshot(same_step));
      _exit(0);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_EQ(WEXITSTATUS(status), 137) << "call " << call;
    expect_whole(run.path(), false, call, same_step);
  }
}

INSTANTIATE_TEST_SUITE_P(NewAndSameStep, EveryCallTest, testing::Bool(),
                         [](const auto& parameter) { return parameter.param ? "SameStep" : "NewStep"; });

// The disk says it has written, and keeps other bytes. Each such write is found when the checkpoint is read, as the
// manifest's hashes are of what was in memory.
TEST_P(EveryCallTest, KeepsOtherBytes) {
  const bool same_step = GetParam();
  const int total = count_calls(same_step);
  const std::vector<std::string> names = journal;
  int found = 0;
  for (int call = 0; call < total; ++call) {
    const std::string& name = names[static_cast<size_t>(call)];
    if (name.rfind("write ", 0) != 0 || name.find("LATEST") != std::string::npos) continue;
    TemporaryFolder run;
    save_steps(run.path(), {1, 2});
    arm(Fault::kOtherBytes, call);
    save(run.path(), next_snapshot(same_step));
    counting = false;
    EXPECT_THROW(CheckpointStore(run.path(), keep(2)).load(same_step ? 2 : 3), DataError) << name;
    ++found;
  }
  EXPECT_EQ(found, 5);  // a write a file
}

using CheckpointOrderTest = WithoutSync;

TEST_F(CheckpointOrderTest, EverythingIsSyncedBeforeTheRenameThatShowsIt) {
  TemporaryFolder run;
  save_steps(run.path(), {1});
  arm(Fault::kNone, -1);
  save(run.path(), snapshot_of(2));
  counting = false;
  const auto position = [&](const std::string& entry) {
    const auto found = std::find(journal.begin(), journal.end(), entry);
    EXPECT_NE(found, journal.end()) << entry << " not in " << testing::PrintToString(journal);
    return found - journal.begin();
  };
  const std::string partial = "checkpoints/step_0000000002.partial";
  const auto shown = position("rename checkpoints/step_0000000002");
  for (const std::string file :
       {"model.safetensors", "optimizer.safetensors", "state.textproto", "config.textproto", "manifest.textproto"}) {
    EXPECT_LT(position("fsync " + partial + "/" + file + ".partial"), position("rename " + partial + "/" + file));
    EXPECT_LT(position("rename " + partial + "/" + file), shown);
  }
  // The last sync of the folder comes after its last file.
  const auto last_sync = std::find(journal.rbegin(), journal.rend(), "fsync " + partial).base() - journal.begin() - 1;
  EXPECT_GT(last_sync, position("rename " + partial + "/manifest.textproto"));
  EXPECT_LT(last_sync, shown);
  // The parent is synced between the rename and LATEST.
  const auto parent_sync = std::find(journal.begin() + shown, journal.end(), "fsync checkpoints") - journal.begin();
  EXPECT_LT(parent_sync, position("rename checkpoints/LATEST"));
}

// Kill -9 at any moment, not only between calls.
TEST(CheckpointKillTest, ARunKilledWhileSavingGoesOnFromAWholeCheckpoint) {
  TemporaryFolder run;
  save_steps(run.path(), {1, 2});
  for (int round = 0; round < 12; ++round) {
    int pipes[2];
    ASSERT_EQ(pipe(pipes), 0);
    const pid_t child = fork();
    if (child == 0) {
      CheckpointStore store(run.path(), keep(2));
      for (int64_t step = store.load_newest()->state.step() + 1;; ++step) {
        store.save_async(snapshot_of(step));
        if (syscall(SYS_write, pipes[1], "s", 1) != 1) _exit(1);
      }
    }
    char told = 0;
    for (int i = 0; i <= round % 5; ++i) ASSERT_EQ(read(pipes[0], &told, 1), 1);
    kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    close(pipes[0]);
    close(pipes[1]);
    const auto snapshot = CheckpointStore(run.path(), keep(2)).load_newest();
    ASSERT_TRUE(snapshot);
    expect_is_step(*snapshot, snapshot->state.step());
  }
}

}  // namespace
}  // namespace muster
