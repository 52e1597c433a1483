#include "configs/load.h"

#include <fmt/format.h>
#include <google/protobuf/text_format.h>

#include <algorithm>
#include <string_view>

#include "configs/number_words.h"
#include "configs/override.h"
#include "configs/strict_parser.h"
#include "configs/validate.h"
#include "dataloader/formats/atomic_file.h"
#include "launch/error.h"
#include "trainer/encoders/model_config.h"

namespace muster {
namespace {

constexpr size_t kMaxConfigBytes = size_t{1} << 20;

void refuse_if_any(const std::vector<std::string>& problems) {
  if (!problems.empty()) throw ConfigError(fmt::format("{}", fmt::join(problems, "\n")));
}

// resolve_model() lists its problems in one line.
std::vector<std::string> split_problems(const std::string& line) {
  constexpr std::string_view kBetween = "; ";
  std::vector<std::string> problems;
  for (size_t begin = 0; begin <= line.size();) {
    const size_t end = std::min(line.find(kBetween, begin), line.size());
    problems.push_back(line.substr(begin, end - begin));
    begin = end + kBetween.size();
  }
  return problems;
}

// Impossible sizes of the model are reported beside all other problems.
std::vector<std::string> resolve_and_check(RunConfig& config) {
  std::vector<std::string> problems;
  try {
    config = resolve_run_config(config);
  } catch (const ConfigError& error) {
    problems = split_problems(error.what());
    // A model that is possible, for the sake of the rest; the images' size stays as it was given.
    RunConfig rest = config;
    rest.mutable_model()->Clear();
    if (has_sets(config.model())) {
      *rest.mutable_model() = possible_region_model(config.model());
    } else {
      rest.mutable_model()->set_preset(ModelConfig::MINI);
    }
    if (selects_tokens(config.model())) rest.mutable_model()->mutable_token_selection()->set_width(2);
    rest = resolve_run_config(rest);
    *rest.mutable_model()->mutable_image() = config.model().image();
    config = rest;
  }
  const std::vector<std::string> others = find_problems(config);
  problems.insert(problems.end(), others.begin(), others.end());
  return problems;
}

}  // namespace

RunConfig parse_run_config(const std::string& text, const std::string& name,
                           const std::vector<std::string>& overrides) {
  RunConfig config;
  std::vector<std::string> problems = parse_strictly(words_to_numbers(text), name, config);
  const std::vector<std::string> wrong_overrides = apply_overrides(overrides, config);
  problems.insert(problems.end(), wrong_overrides.begin(), wrong_overrides.end());
  refuse_if_any(problems);
  problems = resolve_and_check(config);
  for (std::string& problem : problems) problem = name + ": " + problem;
  refuse_if_any(problems);
  return config;
}

RunConfig load_run_config(const std::string& path, const std::vector<std::string>& overrides) {
  return parse_run_config(read_file(path, kMaxConfigBytes), path, overrides);
}

std::string print_run_config(const RunConfig& config) {
  google::protobuf::TextFormat::Printer printer;
  printer.SetUseShortRepeatedPrimitives(true);
  printer.SetUseUtf8StringEscaping(true);
  print_words(printer);
  std::string text;
  printer.PrintToString(config, &text);
  return text;
}

}  // namespace muster
