// --seed of a command that draws something.
#pragma once

#include <cstdint>
#include <string>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace muster {

// A whole number from 0 on; `what` is what it chooses.
CLI::Option* add_seed_option(CLI::App& command, uint64_t& seed, const std::string& what);

}  // namespace muster
