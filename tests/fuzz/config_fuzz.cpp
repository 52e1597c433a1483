// Run configs: lines that begin with "--set " are overrides, the rest is the file.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "configs/load.h"
#include "tests/fuzz/target.h"

namespace muster::fuzz {
namespace {

// A file without its comments, which no change can hurt.
std::string read_config(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string text;
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find_first_not_of(' ');
    if (first != std::string::npos && line[first] != '#') text += line + "\n";
  }
  return text;
}

}  // namespace

// Every preset, and the demo with overrides.
std::vector<std::string> seeds() {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(MUSTER_SOURCE_DIR "/configs")) {
    if (entry.path().extension() == ".textproto") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> configs;
  for (const std::filesystem::path& path : paths) configs.push_back(read_config(path));
  const std::string demo = read_config(MUSTER_SOURCE_DIR "/configs/demo.textproto");
  configs.push_back(demo + "--set train.global_batch=16\n--set objective.term[0].weight=2\n");
  configs.push_back(demo + "--set data.image.mean=[0, 0.5, 1]\n--set data.image.std=[1, 1, 1]\n");
  configs.push_back(demo + "--set objective.term[1]={ sdm {} }\n--set references={}\n");
  return configs;
}

std::vector<std::string> words() {
  return {"{",
          "}",
          "[",
          "]",
          ": ",
          "--set ",
          "train.",
          "objective.term[",
          "model",
          "data",
          "=",
          "\n",
          "term { ",
          "siglip {}",
          "triplet {}",
          "tal {}",
          "nt_xent {}",
          "cmpm {}",
          "weight: ",
          "inf",
          "nan",
          "preset: ",
          "references {",
          "MINI",
          "#",
          "\"",
          "\\x",
          "<",
          ">",
          "[a.b/c]",
          ",",
          "seed: 1"};
}

}  // namespace muster::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace muster;
  constexpr char kSet[] = "--set ";
  std::istringstream lines(std::string(reinterpret_cast<const char*>(data), size));
  std::vector<std::string> overrides;
  std::string text;
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind(kSet, 0) == 0) {
      overrides.push_back(line.substr(sizeof kSet - 1));
    } else {
      text += line + "\n";
    }
  }
  fuzz::allow_refusal([&] {
    const std::string resolved = print_run_config(parse_run_config(text, "input", overrides));
    fuzz::require(print_run_config(parse_run_config(resolved, "resolved", {})) == resolved,
                  "a config that was resolved is read again, and means the same");
  });
  return 0;
}
