#include "trainer/host_memory.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/support/temporary_folder.h"

namespace muster {
namespace {

class HostMemoryTest : public testing::Test {
 protected:
  void write(const std::string& path, const std::string& text) {
    const std::filesystem::path whole = root() + path;
    std::filesystem::create_directories(whole.parent_path());
    std::ofstream(whole) << text;
  }
  void SetUp() override { write("proc/meminfo", "MemTotal:       24000000 kB\nMemAvailable:   20000000 kB\n"); }
  std::string root() const { return folder_.path() + "/"; }

  TemporaryFolder folder_;
};

TEST_F(HostMemoryTest, IsWhatTheKernelCallsAvailable) {
  EXPECT_EQ(available_host_memory(root()), 20000000LL * 1024);
}

TEST_F(HostMemoryTest, IsWhatTheControlGroupLeaves) {
  write("proc/self/cgroup", "0::/jobs/one\n");
  write("sys/fs/cgroup/jobs/one/memory.max", "max\n");
  write("sys/fs/cgroup/jobs/one/memory.current", "7000\n");
  EXPECT_EQ(available_host_memory(root()), 20000000LL * 1024);
  write("sys/fs/cgroup/jobs/memory.max", "10000\n");
  write("sys/fs/cgroup/jobs/memory.current", "8000\n");
  write("sys/fs/cgroup/jobs/memory.stat", "anon 5000\nfile 3000\nfile_mapped 1\n");
  EXPECT_EQ(available_host_memory(root()), 5000);
  write("sys/fs/cgroup/jobs/memory.current", "90000\n");
  EXPECT_EQ(available_host_memory(root()), 0);
}

TEST_F(HostMemoryTest, SeesARootThatIsItsGroup) {
  write("proc/self/cgroup", "0::/\n");
  write("sys/fs/cgroup/memory.max", "10000\n");
  write("sys/fs/cgroup/memory.current", "4000\n");
  EXPECT_EQ(available_host_memory(root()), 6000);
}

TEST_F(HostMemoryTest, KnowsTheFirstKindOfGroups) {
  write("proc/self/cgroup", "5:cpu:/other\n4:memory:/slurm\n");
  write("sys/fs/cgroup/memory/slurm/memory.limit_in_bytes", "10000\n");
  write("sys/fs/cgroup/memory/slurm/memory.usage_in_bytes", "4000\n");
  write("sys/fs/cgroup/memory/slurm/memory.stat", "cache 1\ntotal_cache 1500\n");
  EXPECT_EQ(available_host_memory(root()), 7500);
}

TEST(HostMemoryHereTest, IsSomething) {
  EXPECT_GT(available_host_memory(), 0);
}

}  // namespace
}  // namespace muster
