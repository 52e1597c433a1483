#include "trainer/host_memory.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>

namespace muster {
namespace {

// The number behind `word` at the beginning of a line; none where there is no such file or line. An empty word: the
// file is the number.
std::optional<int64_t> number_in(const std::string& path, const std::string& word) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::istringstream parts(line);
    std::string first;
    int64_t number = 0;
    if (!word.empty() && (!(parts >> first) || first != word)) continue;
    if (parts >> number) return number;
    return {};
  }
  return {};
}

struct GroupFiles {
  const char* limit;
  const char* used;
  const char* files;  // a line of memory.stat
};

// What one control group leaves; none if it sets no limit.
std::optional<int64_t> left_by(const std::string& group, const GroupFiles& names) {
  const std::optional<int64_t> limit = number_in(group + "/" + names.limit, "");
  const std::optional<int64_t> used = number_in(group + "/" + names.used, "");
  if (!limit || !used) return {};
  return *limit - *used + number_in(group + "/memory.stat", names.files).value_or(0);
}

// This process's group and all above it.
int64_t left_by_groups(const std::string& mount, std::string group, const GroupFiles& names) {
  int64_t least = std::numeric_limits<int64_t>::max();
  while (true) {
    least = std::min(least, left_by(mount + group, names).value_or(least));
    if (group.empty() || group == "/") return least;
    group.resize(group.rfind('/'));
  }
}

}  // namespace

int64_t available_host_memory(const std::string& root) {
  int64_t available = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<int64_t>(sysconf(_SC_PAGESIZE));
  if (const auto kib = number_in(root + "proc/meminfo", "MemAvailable:")) available = *kib * 1024;
  std::ifstream groups(root + "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1), group = line.substr(second + 1);
    if (controllers.empty()) {
      const GroupFiles names{"memory.max", "memory.current", "file"};
      available = std::min(available, left_by_groups(root + "sys/fs/cgroup", group, names));
    } else if (controllers == "memory") {
      const GroupFiles names{"memory.limit_in_bytes", "memory.usage_in_bytes", "total_cache"};
      available = std::min(available, left_by_groups(root + "sys/fs/cgroup/memory", group, names));
    }
  }
  return std::max<int64_t>(available, 0);
}

}  // namespace muster
