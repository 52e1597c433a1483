#include "tests/fuzz/target.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "launch/error.h"

namespace muster::fuzz {
namespace {

// One for the whole process: making it anew each time costs more than most readers take.
int memory_file() {
  static const int descriptor = memfd_create("fuzz", MFD_CLOEXEC);
  if (descriptor < 0) throw std::runtime_error("no file in memory can be made");
  return descriptor;
}

// NOLINTBEGIN: the target's interface has no place for them
uint64_t refused = 0;
std::string refusal;
// NOLINTEND

// Removed at the end, but for a process that a finding ends.
struct OwnFolder {
  OwnFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "muster-fuzz-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no folder can be made");
    path = pattern;
  }
  ~OwnFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  std::string path;
};

}  // namespace

uint64_t refusals() {
  return refused;
}

const std::string& last_refusal() {
  return refusal;
}

void allow_refusal(const std::function<void()>& read) {
  try {
    read();
  } catch (const ConfigError& error) {
    ++refused;
    refusal = error.what();
  } catch (const DataError& error) {
    ++refused;
    refusal = error.what();
  }
}

void require(bool holds, const char* promise) {
  if (holds) return;
  std::fprintf(stderr, "this does not hold: %s\n", promise);
  std::abort();
}

MemoryFile::MemoryFile(const std::string& bytes) : path_("/proc/self/fd/" + std::to_string(memory_file())) {
  const bool written = ftruncate(memory_file(), 0) == 0 &&
                       pwrite(memory_file(), bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size());
  if (!written) throw std::runtime_error("the file in memory cannot be written");
}

FolderOfFiles::FolderOfFiles(const std::map<std::string, std::string>& files) {
  static const OwnFolder folder;
  path_ = folder.path;
  for (const auto& entry : std::filesystem::directory_iterator(path_)) std::filesystem::remove_all(entry.path());
  for (const auto& [name, bytes] : files) {
    std::ofstream file(path_ + "/" + name, std::ios::binary);
    if (!file.write(bytes.data(), static_cast<std::streamsize>(bytes.size())).flush()) {
      throw std::runtime_error("a file cannot be written");
    }
  }
}

std::vector<std::string> pieces_of(const uint8_t* data, size_t size, size_t count) {
  std::vector<std::string> pieces(1);
  for (size_t i = 0; i < size; ++i) {
    if (data[i] == 1) {
      pieces.emplace_back();
    } else {
      pieces.back() += static_cast<char>(data[i]);
    }
  }
  if (pieces.size() < count) pieces.resize(count);
  return pieces;
}

}  // namespace muster::fuzz
