#include "trainer/parameter_groups.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <cmath>

#include "launch/error.h"
#include "trainer/heads/head.h"
#include "trainer/near_miss.h"

namespace muster {
namespace {

bool matches(const ParameterGroup& group, const std::string& name) {
  return fnmatch(group.name().c_str(), name.c_str(), 0) == 0;
}

// Every run of whole segments of the dotted names: "image.blocks" and "blocks.0" of "image.blocks.0.weight".
std::vector<std::string> dotted_parts(const std::vector<std::string>& names) {
  std::vector<std::string> parts;
  for (const std::string& name : names) {
    for (size_t begin = 0; begin != std::string::npos;) {
      for (size_t end = begin; end != std::string::npos;) {
        end = name.find('.', end + 1);
        parts.push_back(name.substr(begin, end == std::string::npos ? end : end - begin));
      }
      begin = name.find('.', begin);
      if (begin != std::string::npos) ++begin;
    }
  }
  std::sort(parts.begin(), parts.end());
  parts.erase(std::unique(parts.begin(), parts.end()), parts.end());
  return parts;
}

// The glob with its core, the part between leading and trailing stars, replaced by what it may have meant.
std::vector<std::string> nearest_globs(const std::string& glob, const std::vector<std::string>& names) {
  const size_t begin = glob.find_first_not_of("*."), last = glob.find_last_not_of("*.");
  if (begin == std::string::npos) return {};
  std::vector<std::string> globs = near_misses(glob.substr(begin, last + 1 - begin), dotted_parts(names));
  for (std::string& core : globs) core = glob.substr(0, begin) + core + glob.substr(last + 1);
  return globs;
}

bool is_of_heads(const std::string& name) {
  return name.rfind(kHeadsPrefix, 0) == 0;
}

void check(const ParameterGroup& group, const std::vector<std::string>& names, const char* what) {
  // A preset states how its heads are trained also where they are switched off.
  if (is_of_heads(group.name()) && std::none_of(names.begin(), names.end(), is_of_heads)) return;
  for (const std::string& name : names) {
    if (matches(group, name)) return;
  }
  const std::string example = names.empty() ? "" : fmt::format(" (such as {})", names.front());
  throw ConfigError(fmt::format("train.optimizer.group \"{}\" matches none of the {} {}{}{}", group.name(),
                                names.size(), what, example, did_you_mean(nearest_globs(group.name(), names))));
}

}  // namespace

int find_group(const std::string& name, const OptimizerConfig& config) {
  for (int i = 0; i < config.group_size(); ++i) {
    if (matches(config.group(i), name)) return i;
  }
  return -1;
}

bool is_frozen(const std::string& name, const OptimizerConfig& config) {
  const int group = find_group(name, config);
  return group >= 0 && config.group(group).freeze();
}

void check_groups(const NamedParameters& trainable, const OptimizerConfig& config) {
  std::vector<std::string> names;
  for (const auto& [name, parameter] : trainable) names.push_back(name);
  for (const ParameterGroup& group : config.group()) {
    if (!group.freeze()) check(group, names, "trained parameters");
  }
}

void check_all_groups(const std::vector<std::string>& names, const OptimizerConfig& config) {
  for (const ParameterGroup& group : config.group()) check(group, names, "parameters");
}

double rate_multiplier(const std::string& name, const LayersAbove& layers, const OptimizerConfig& config) {
  const int group = find_group(name, config);
  const auto above = layers.find(name);
  const double layer = above == layers.end() ? 1 : std::pow(config.layer_decay(), static_cast<double>(above->second));
  return (group < 0 ? 1 : config.group(group).rate_multiplier()) * layer;
}

double weight_decay(const std::string& name, const at::Tensor& parameter, const OptimizerConfig& config) {
  const bool is_log_scale = name.find("log_scale") != std::string::npos;
  if (!config.decay_all() && (parameter.dim() <= 1 || is_log_scale)) return 0;
  const int group = find_group(name, config);
  if (group >= 0 && config.group(group).has_weight_decay()) return config.group(group).weight_decay();
  if (config.kind() == OptimizerConfig::SGD && !config.has_weight_decay()) return 0;
  return config.weight_decay();
}

}  // namespace muster
