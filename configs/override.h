// --set a.b=c: one field changed from the command line.
#pragma once

#include <string>
#include <vector>

#include "configs/run.pb.h"

namespace muster {

// PATH=VALUE. A path is field names in dots; repeated messages and values take an index, "objective.term[0].weight",
// and the index behind the last one adds an element. A value is written as in the file; texts need no quotes; a list is
// "[0.5, 0.5, 0.5]" and replaces the one in the file; a message is "{ positives: IDENTITY }" and replaces it likewise.
// Returns the problems, one line each: "--set train.stepz=3: unknown field ...".
std::vector<std::string> apply_overrides(const std::vector<std::string>& overrides, RunConfig& config);

}  // namespace muster
