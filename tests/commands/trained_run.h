// A run of a few steps on the tiny store, made by the program itself, for tests of the commands that work on a run.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/child_process.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_store.h"

namespace muster {

inline std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

inline std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

// STORE has four identities in test, of two images with two captions each; RUN has kept its checkpoints of steps 1
// to 4.
class TrainedRunTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    made_ = std::make_unique<TemporaryFolder>();
    write_tiny_store(store(), 12);
    std::ofstream(*made_ / "config.textproto") << R"(
model {
  preset: MINI
  image { width_pixels: 16 height_pixels: 16 width: 24 layers: 1 heads: 2 }
  text { context: 12 width: 24 layers: 1 heads: 2 }
  joint_width: 16
}
objective { term { info_nce {} } }
train { global_batch: 8 steps: 4 threads: 1 checkpoint { every: 1 keep_last: 4 } }
)";
    const ProgramResult trained = run_program(
        {muster_program(), "train", "--config", *made_ / "config.textproto", "--data", store(), "--run", run()});
    ASSERT_EQ(trained.exit_code, 0) << trained.output;
  }
  static void TearDownTestSuite() { made_.reset(); }

  static std::string store() { return *made_ / "store"; }
  static std::string run() { return *made_ / "run"; }

  // muster COMMAND --run RUN --data STORE MORE...
  static std::vector<std::string> on_run(const std::string& command, const std::vector<std::string>& more) {
    std::vector<std::string> argv = {muster_program(), command, "--run", run(), "--data", store()};
    argv.insert(argv.end(), more.begin(), more.end());
    return argv;
  }

  // What a command that must succeed prints.
  static std::string output_of(const std::vector<std::string>& argv) {
    const ProgramResult result = run_program(argv);
    EXPECT_EQ(result.exit_code, 0) << result.output;
    return result.output;
  }

  TemporaryFolder folder_;

 private:
  static inline std::unique_ptr<TemporaryFolder> made_;
};

}  // namespace muster
