// What a fuzz target is made of. A target, tests/fuzz/NAME_fuzz.cpp, defines the three functions below; libFuzzer
// (clang) or driver.cpp calls them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

// Feeds the input to a production reader. Returns 0; whatever leaves it but by return is a finding.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace muster::fuzz {

// Inputs to start from, at least one; the reader takes each of them, which driver.cpp checks.
std::vector<std::string> seeds();
// What such inputs are made of, to be put in anywhere.
std::vector<std::string> words();

// Runs `read` and swallows what the project declares: ConfigError and DataError. Others pass, and are findings.
void allow_refusal(const std::function<void()>& read);
// Calls of allow_refusal() that ended in one, and what the last one said.
uint64_t refusals();
const std::string& last_refusal();

// Ends the process, loudly: a promise of the reader does not hold.
void require(bool holds, const char* promise);

// The bytes as a file in memory, until it is destroyed or the next one is made.
class MemoryFile {
 public:
  explicit MemoryFile(const std::string& bytes);
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Files by name in a folder of the process's own, which is emptied when it is made and goes with the process.
class FolderOfFiles {
 public:
  explicit FolderOfFiles(const std::map<std::string, std::string>& files);
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// An input's pieces, cut at each \1; at least `count`, the last ones perhaps empty.
std::vector<std::string> pieces_of(const uint8_t* data, size_t size, size_t count);

}  // namespace muster::fuzz
