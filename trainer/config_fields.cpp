#include "trainer/config_fields.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <sstream>
#include <string_view>

#include <fmt/format.h>

namespace muster {
namespace {

constexpr std::string_view kFree[] = {"comm.",
                                      "data.workers",
                                      "data.prefetch",
                                      "data.tokenizer.merges",
                                      "train.chunk",
                                      "train.threads",
                                      "train.device",
                                      "train.log_every",
                                      "train.evaluation.",
                                      "train.checkpoint.",
                                      "train.non_finite.",
                                      "train.compare_ranks_every",
                                      "refinement.",
                                      "references.placement"};

}  // namespace

ConfigFields list_config_fields(const std::string& text) {
  ConfigFields fields;
  std::vector<std::string> path;
  std::map<std::string, int> seen;
  std::istringstream lines(text);
  const auto full_name = [&](const std::string& name) {
    std::string full;
    for (const std::string& part : path) full += part + ".";
    return full + name;
  };
  const auto numbered = [&](const std::string& name) {
    const int number = seen[full_name(name)]++;
    return number == 0 ? name : fmt::format("{}[{}]", name, number);
  };
  for (std::string line; std::getline(lines, line);) {
    line.erase(0, line.find_first_not_of(' '));
    if (line.empty()) continue;
    if (line == "}") {
      if (!path.empty()) path.pop_back();
    } else if (line.back() == '{') {
      path.push_back(numbered(line.substr(0, line.find_last_not_of(" {") + 1)));
    } else {
      const size_t colon = line.find(": ");
      fields.emplace_back(full_name(numbered(line.substr(0, colon))), line.substr(std::min(line.size(), colon + 2)));
    }
  }
  return fields;
}

bool decides_results(const std::string& field) {
  return std::none_of(std::begin(kFree), std::end(kFree),
                      [&](std::string_view prefix) { return field.compare(0, prefix.size(), prefix) == 0; });
}

}  // namespace muster
