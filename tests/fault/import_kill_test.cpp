// kill -9 of an import under mpirun, at moments nobody chose, then the same command again: the store equals that of one
// process that was never touched, byte for byte.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
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
    fs::create_directory(folder_ / "pictures");
    for (int i = 0; i < 7; ++i) {
      write_bytes(folder_ / picture(i),
                  encode_jpeg({400, 400, std::vector<uint8_t>(480000, static_cast<uint8_t>(i))}, 90));
    }
  }

  static std::string picture(int i) { return "pictures/" + std::to_string(i) + ".jpg"; }

  void write_csv() {
    std::ofstream list(folder_ / "list.csv");
    list << "image,caption,identity\n";
    for (int i = 0; i < kImages; ++i) {
      if (i >= 7) fs::create_hard_link(folder_ / picture(i % 7), folder_ / picture(i));
      list << picture(i) << ",caption " << i << "," << i % 501 << "\n";
    }
  }

  // As CUB comes: a folder of pictures and one of captions for each class.
  void write_classes() {
    constexpr int kClasses = 26;
    std::ofstream train(folder_ / "trainclasses.txt"), val(folder_ / "valclasses.txt"),
        test(folder_ / "testclasses.txt");
    for (int c = 0; c < kClasses; ++c) {
      const std::string name = std::to_string(100 + c) + ".Bird";
      (c % 4 == 0 ? test : c % 4 == 1 ? val : train) << name << "\n";
      fs::create_directories(folder_ / ("images/" + name));
      fs::create_directories(folder_ / ("text_c10/" + name));
      for (int i = 0; i < kImages / kClasses; ++i) {
        const std::string image = name + "/" + std::to_string(i);
        fs::create_hard_link(folder_ / picture(i % 7), folder_ / ("images/" + image + ".jpg"));
        std::ofstream(folder_ / ("text_c10/" + image + ".txt")) << "bird " << c << "\nbird " << i << "\n";
      }
    }
  }

  int64_t count(const std::string& extension) const {
    std::error_code none;
    int64_t files = 0;
    for (const auto& entry : fs::directory_iterator(folder_ / "killed.partial", none)) {
      files += entry.path().extension() == extension ? 1 : 0;
    }
    return files;
  }

  // `list`: format and path.
  std::vector<std::string> command(const std::vector<std::string>& list, const std::string& out) const {
    std::vector<std::string> argv = {muster_program(), "import"};
    argv.insert(argv.end(), list.begin(), list.end());
    argv.insert(argv.end(), {"--out", folder_ / out, "--shard-mib", "1"});
    return argv;
  }

  // Two ranks, killed when so many files of that kind are there; then to the end. Compared with one process.
  void kill_and_continue(const std::vector<std::string>& list,
                         const std::vector<std::pair<const char*, int64_t>>& moments, int at_least) const {
    const ProgramResult unbroken = run_program(command(list, "unbroken"));
    ASSERT_EQ(unbroken.exit_code, 0) << unbroken.output;
    int kills = 0;
    for (const auto& [extension, files] : moments) {
      ChildProcess job(under_mpirun(2, command(list, "killed")));
      const bool reached =
          job.wait_until([&, e = extension, n = files] { return count(e) >= n; }, std::chrono::seconds(120));
      if (!reached || fs::exists(folder_ / "killed")) break;
      job.signal_all(SIGKILL);
      job.wait();
      ++kills;
    }
    EXPECT_GE(kills, at_least);
    if (!fs::exists(folder_ / "killed")) {
      const ProgramResult last = run_program(under_mpirun(2, command(list, "killed")));
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

  const TemporaryFolder folder_;
};

TEST_F(ImportKillTest, KillNineOfTheWholeJobThenTheSameCommandGivesTheSameBytes) {
  write_csv();
  kill_and_continue({"csv", folder_ / "list.csv"}, {{".rows", 1}, {".rows", 3}, {".written", 1}, {".written", 4}}, 2);
}

TEST_F(ImportKillTest, ASetOfClassesToo) {
  write_classes();
  kill_and_continue({"cub", folder_.path()}, {{".rows", 2}}, 1);
}

}  // namespace
}  // namespace muster
