#include "trainer/commands/seed_option.h"

#include <CLI/CLI.hpp>

namespace muster {

CLI::Option* add_seed_option(CLI::App& command, uint64_t& seed, const std::string& what) {
  // CLI11 takes -1 for the largest number.
  const auto refuse_negative = [](std::string& text) {
    return text.rfind('-', 0) == 0 ? text + " is negative; give a whole number from 0 on" : std::string();
  };
  return command.add_option("--seed", seed, what)->check(CLI::Validator(refuse_negative, ""));
}

}  // namespace muster
