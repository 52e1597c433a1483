// Ranks that are not as the others: real jobs in which one rank's memory is damaged while it trains, or one was started
// with something else.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fcntl.h>
#include <fmt/format.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "dataloader/formats/safetensors.h"
#include "tests/support/child_process.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_store.h"

namespace muster {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

constexpr char kFrozen[] = "image.blocks.0.attention.qkv.weight";

constexpr char kConfig[] = R"(
model {
  preset: MINI
  image { width_pixels: 16 height_pixels: 16 width: 24 layers: 2 heads: 2 }
  text { context: 12 width: 24 layers: 1 heads: 2 }
  joint_width: 16
}
objective { term { info_nce { positives: IDENTITY } } }
train {
  global_batch: 9 steps: 150 seed: 5 threads: 1 log_every: 1
  optimizer { group { name: "image.blocks.0.attention.qkv.weight" freeze: true } }
  checkpoint { every: 10 }
  compare_ranks_every: 5
}
)";

std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

int rank_of(pid_t pid) {
  const std::string environment = bytes_of(fmt::format("/proc/{}/environ", pid));
  const std::string name("\0OMPI_COMM_WORLD_RANK=", 22);
  const size_t at = environment.find(name);
  return at == std::string::npos ? -1 : std::stoi(environment.substr(at + name.size()));
}

// Flips a bit wherever these bytes stand in the process's own memory; returns how often that was.
int flip_a_bit(pid_t pid, const std::string& bytes) {
  std::ifstream maps(fmt::format("/proc/{}/maps", pid));
  const int memory = open(fmt::format("/proc/{}/mem", pid).c_str(), O_RDWR);
  int flipped = 0;
  for (std::string line; memory >= 0 && std::getline(maps, line);) {
    uint64_t begin = 0, end = 0;
    char access[5] = {};
    if (sscanf(line.c_str(), "%lx-%lx %4s", &begin, &end, access) != 3 || std::string(access) != "rw-p") continue;
    std::string region(end - begin, '\0');
    if (pread(memory, region.data(), region.size(), static_cast<off_t>(begin)) != static_cast<ssize_t>(region.size())) {
      continue;
    }
    for (size_t at = region.find(bytes); at != std::string::npos; at = region.find(bytes, at + 1)) {
      const char other = static_cast<char>(region[at + 40] ^ 4);
      flipped += pwrite(memory, &other, 1, static_cast<off_t>(begin + at + 40)) == 1 ? 1 : 0;
    }
  }
  if (memory >= 0) close(memory);
  return flipped;
}

class OddRankTest : public testing::Test {
 protected:
  void SetUp() override {
    write_tiny_store(folder_ / "store", 20);
    std::ofstream(folder_ / "config.textproto") << kConfig;
  }

  std::vector<std::string> train(const std::string& run, const std::vector<std::string>& more = {},
                                 const std::string& program = muster_program()) const {
    std::vector<std::string> argv = {program,  "train",           "--config", folder_ / "config.textproto",
                                     "--data", folder_ / "store", "--run",    folder_ / run};
    argv.insert(argv.end(), more.begin(), more.end());
    return argv;
  }

  // Two ranks of the first, one of the other. What muster says, host and folder left out.
  std::string start_unlike(const std::vector<std::string>& two, const std::vector<std::string>& one) const {
    std::vector<std::string> argv = under_mpirun(2, two);
    argv.insert(argv.end(), {":", "-n", "1"});
    argv.insert(argv.end(), one.begin(), one.end());
    const ProgramResult result = run_program(argv);
    EXPECT_EQ(result.exit_code, 2) << result.output;
    char host[256] = {};
    gethostname(host, sizeof host - 1);
    std::istringstream lines(result.output);
    for (std::string line; std::getline(lines, line);) {
      if (line.rfind("muster: ", 0) != 0) continue;
      for (const std::string& text : {folder_.path() + "/", std::string(host)}) {
        for (size_t at = line.find(text); at != std::string::npos; at = line.find(text)) line.erase(at, text.size());
      }
      return line;
    }
    return result.output;
  }

  TemporaryFolder folder_;
};

TEST_F(OddRankTest, ABitThatFlipsInItsMemoryEndsTheJobAndTheSupervisorGoesOn) {
  ASSERT_EQ(run_program(under_mpirun(3, train("unbroken"))).exit_code, 0);
  std::vector<std::string> command = under_mpirun(3, train("damaged"));
  command.insert(command.begin(), {MUSTER_SOURCE_DIR "/launch/supervise.sh", "--"});
  ChildProcess job(command);
  const std::string first = folder_ / "damaged/checkpoints/step_0000000010/model.safetensors";
  ASSERT_TRUE(job.wait_until([&] { return fs::exists(first); }, std::chrono::seconds(120))) << job.output();
  const at::Tensor frozen = find_tensor(read_safetensors(first), kFrozen, first);
  const std::string bytes(static_cast<const char*>(frozen.const_data_ptr()), 256);
  int flipped = 0;
  for (const pid_t pid : job.descendants(muster_program())) {
    if (rank_of(pid) == 1) flipped = flip_a_bit(pid, bytes);
  }
  ASSERT_GE(flipped, 1);
  const ProgramResult result = job.wait();
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output,
              AllOf(HasSubstr(" rank 1 ("),
                    HasSubstr(") holds other weights, first image.blocks.0.attention.qkv.weight "
                              "than the other 2: a fault of memory"),
                    HasSubstr("ended with 76 (a peer was lost)"), HasSubstr("done at step 150, restarts 1")));
  for (const char* file : {"model.safetensors", "optimizer.safetensors", "state.textproto"}) {
    const std::string path = std::string("/checkpoints/step_0000000150/") + file;
    EXPECT_TRUE(bytes_of(folder_ / ("damaged" + path)) == bytes_of(folder_ / ("unbroken" + path))) << file;
  }
}

TEST_F(OddRankTest, AnotherConfigIsNamedBeforeAnythingIsDone) {
  EXPECT_EQ(start_unlike(train("run"), train("run", {"--set", "train.seed=6"})),
            "muster: rank 2 () was started with another config than rank 0: train.seed is 6 there and 5 here; "
            "start all ranks alike");
  EXPECT_EQ(start_unlike(train("run", {"--set", "data.workers=3"}), train("run")),
            "muster: rank 2 () was started with another config than rank 0: data.workers is 1 there and 3 here; "
            "start all ranks alike");
  EXPECT_FALSE(fs::exists(folder_ / "run"));
}

TEST_F(OddRankTest, AnotherRunFolderOrLengthIsNamed) {
  EXPECT_EQ(start_unlike(train("run"), train("other")),
            "muster: rank 2 () was started with another run folder than rank 0: other there and run here; start all "
            "ranks alike");
  EXPECT_EQ(start_unlike(train("run", {"--stop-after", "3"}), train("run", {"--stop-after", "4"})),
            "muster: rank 2 () was started with other arguments than rank 0: --stop-after 4 there and --stop-after 3 "
            "here; start all ranks alike");
  EXPECT_FALSE(fs::exists(folder_ / "run"));
}

TEST_F(OddRankTest, AnotherStoreIsNamed) {
  write_tiny_store(folder_ / "larger", 24);
  std::vector<std::string> other = train("run");
  std::replace(other.begin(), other.end(), folder_ / "store", folder_ / "larger");
  EXPECT_THAT(start_unlike(train("run"), other),
              HasSubstr("muster: rank 2 () was started with another store than rank 0: "));
  EXPECT_FALSE(fs::exists(folder_ / "run"));
}

// The same program but for a byte behind its end.
TEST_F(OddRankTest, AnotherProgramIsNamed) {
  fs::create_directory(folder_ / "bin");
  fs::copy(muster_program(), folder_ / "bin/muster");
  fs::create_directory_symlink(fs::path(muster_program()).parent_path() / "share", folder_ / "bin/share");
  std::ofstream(folder_ / "bin/muster", std::ios::binary | std::ios::app) << 'x';
  EXPECT_THAT(start_unlike(train("run"), train("run", {}, folder_ / "bin/muster")),
              AllOf(HasSubstr("muster: rank 2 () was started with another program than rank 0: muster "),
                    HasSubstr(", hash ")));
  EXPECT_FALSE(fs::exists(folder_ / "run"));
}

}  // namespace
}  // namespace muster
