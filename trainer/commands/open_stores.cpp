#include "trainer/commands/open_stores.h"

#include <fmt/format.h>

#include <charconv>

#include "launch/error.h"

namespace muster {
namespace {

constexpr int64_t kMostRepeats = 1000;

struct StoreArgument {
  std::string path;
  int64_t repeats = 1;
};

StoreArgument parse(const std::string& argument) {
  const size_t colon = argument.rfind(':');
  if (colon == std::string::npos || argument.find_first_not_of("0123456789", colon + 1) != std::string::npos ||
      colon + 1 == argument.size()) {
    return {argument, 1};
  }
  StoreArgument result{argument.substr(0, colon), 0};
  const char* end = argument.data() + argument.size();
  const auto [parsed, error] = std::from_chars(argument.data() + colon + 1, end, result.repeats);
  if (error != std::errc() || parsed != end || result.repeats < 1 || result.repeats > kMostRepeats) {
    throw ConfigError(fmt::format("--data {}: each sample can stand 1 to {} times in an epoch; give PATH or PATH:TIMES",
                                  argument, kMostRepeats));
  }
  return result;
}

}  // namespace

OpenStores::OpenStores(const std::vector<std::string>& arguments) {
  for (const std::string& text : arguments) {
    const StoreArgument argument = parse(text);
    held_.push_back(std::make_unique<Store>(argument.path));
    const Store& store = *held_.back();
    for (size_t i = 0; i + 1 < held_.size(); ++i) {
      if (held_[i]->fingerprint() != store.fingerprint()) continue;
      throw ConfigError(
          fmt::format("--data {} is the same store as --data {}; give it once, as PATH:TIMES", text, held_[i]->path()));
    }
    if (stores_) {
      stores_->add(store, argument.repeats);
    } else {
      stores_ = std::make_unique<TrainingStores>(store, argument.repeats);
    }
  }
}

}  // namespace muster
