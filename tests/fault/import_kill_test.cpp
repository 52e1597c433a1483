// kill -9 of an import under mpirun, at moments nobody chose, then the same command again: the store equals that of one
// process that was never touched, byte for byte.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "dataloader/image.h"
#include "tests/support/child_process.h"
#include "tests/support/file_bytes.h"
#include "tests/support/temporary_folder.h"

namespace muster {
namespace {

namespace fs = std::filesystem;

constexpr int kImages = 2600;  // six blocks

class ImportKillTest : public testing::Test {
 protected:
  // Large flat pictures: slow to decode for their bytes.
  ImportKillTest() {
    fs::create_directory(folder_ / "images");
    std::ofstream list(folder_ / "list.csv");
    list << "image,caption,identity\n";
    for (int i = 0; i < kImages; ++i) {
      const std::string name = "images/" + std::to_string(i) + ".jpg";
      if (i < 7) {
        write_bytes(folder_ / name, encode_jpeg({400, 400, std::vector<uint8_t>(480000, static_cast<uint8_t>(i))}, 90));
      } else {
        fs::create_hard_link(folder_ / ("images/" + std::to_string(i % 7) + ".jpg"), folder_ / name);
      }
      list << name << ",caption " << i << "," << i % 501 << "\n";
    }
  }

  std::vector<std::string> command(const std::string& out) const {
    return {muster_program(), "import", "csv", folder_ / "list.csv", "--out", folder_ / out, "--shard-mib", "1"};
  }

  int64_t count(const std::string& extension) const {
    std::error_code none;
    int64_t files = 0;
    for (const auto& entry : fs::directory_iterator(folder_ / "killed.partial", none)) {
      files += entry.path().extension() == extension ? 1 : 0;
    }
    return files;
  }

  const TemporaryFolder folder_;
};

TEST_F(ImportKillTest, KillNineOfTheWholeJobThenTheSameCommandGivesTheSameBytes) {
  const ProgramResult unbroken = run_program(command("unbroken"));
  ASSERT_EQ(unbroken.exit_code, 0) << unbroken.output;
  int kills = 0;
  const std::pair<const char*, int64_t> moments[] = {{".rows", 1}, {".rows", 3}, {".written", 1}, {".written", 4}};
  for (const auto& [extension, files] : moments) {
    ChildProcess job(under_mpirun(2, command("killed")));
    const bool reached =
        job.wait_until([&, e = extension, n = files] { return count(e) >= n; }, std::chrono::seconds(120));
    if (!reached || fs::exists(folder_ / "killed")) break;
    job.signal_all(SIGKILL);
    job.wait();
    ++kills;
  }
  EXPECT_GE(kills, 2);
  if (!fs::exists(folder_ / "killed")) {
    const ProgramResult last = run_program(under_mpirun(2, command("killed")));
    ASSERT_EQ(last.exit_code, 0) << last.output;
    EXPECT_NE(last.output.find("continued: "), std::string::npos) << last.output;
  }
  EXPECT_FALSE(fs::exists(folder_ / "killed.partial"));
  size_t files = 0;
  for (const auto& entry : fs::directory_iterator(folder_ / "unbroken")) {
    const std::string name = entry.path().filename().string();
    EXPECT_EQ(read_bytes(folder_ / ("killed/" + name)), read_bytes(entry.path().string())) << name;
    ++files;
  }
  EXPECT_GT(files, 4U);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_ / "killed"), fs::directory_iterator()),
            static_cast<std::ptrdiff_t>(files));
}

}  // namespace
}  // namespace muster
