// From a config file and --set overrides to the run that they describe: parsed strictly, complete, and possible.
//
// Nothing here touches MPI, a GPU or the data; all errors are ConfigError with one line per problem, all problems at
// once. Only the names and sizes in train.init.weights are read, where the model's sizes are to come from it.
#pragma once

#include <string>
#include <vector>

#include "configs/run.pb.h"

namespace muster {

// Protobuf text format; overrides are "train.global_batch=512" or "objective.term[0].weight=2" (see configs/override.h)
// and win over the file. The result is resolved and validated. DataError: the file cannot be read. ConfigError: what is
// wrong, each line beginning with FILE:LINE:COLUMN, --set OVERRIDE, or FILE.
RunConfig load_run_config(const std::string& path, const std::vector<std::string>& overrides);

// The same from text; `name` stands for the file in errors.
RunConfig parse_run_config(const std::string& text, const std::string& name, const std::vector<std::string>& overrides);

// Every default made explicit: fields' defaults, the model preset's sizes or those of train.init.weights, CLIP's pixel
// mean and std. What has no default and is not given (an info_nce's temperature, steps or epochs) stays out. Resolving
// again changes nothing. ConfigError from resolve_model() (trainer/encoders/model_config.h): sizes that are missing or
// impossible. DataError: as PublishedModel (trainer/encoders/published_model.h).
RunConfig resolve_run_config(const RunConfig& config);

// Text format that parses back to the same message.
std::string print_run_config(const RunConfig& config);

}  // namespace muster
