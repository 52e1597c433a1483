// What `muster config` prints: the fields of a run config with type, default and meaning, from the .proto files
// themselves, so that a new field needs no line here. Generated code drops comments; the build keeps them
// (run_descriptor.h).
#pragma once

#include <string>

namespace muster {

// Every field below the run config, one line each: its path, what it takes, its default.
std::string describe_all_fields();

// `path` as --set takes it, indices allowed: "train.optimizer", "objective.term[0].sdm.epsilon". A message is described
// with all of its fields, an enum with its values. ConfigError naming the part that is no field, and what may have been
// meant.
std::string describe_field(const std::string& path);

}  // namespace muster
