#include "tests/fuzz/target.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
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

uint64_t refused = 0;  // NOLINT: the target's interface has no place for it

}  // namespace

uint64_t refusals() {
  return refused;
}

void allow_refusal(const std::function<void()>& read) {
  try {
    read();
  } catch (const ConfigError&) {
    ++refused;
  } catch (const DataError&) {
    ++refused;
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

}  // namespace muster::fuzz
