// Where checkpoints lie and how their folders are named.
//
//   RUN/checkpoints/step_0000012000/           a whole checkpoint: these names appear by rename only
//   RUN/checkpoints/step_0000012000.partial/   being written; a killed writer's is removed before the next save
//   RUN/checkpoints/step_0000012000.replaced/  stood here until the same step was saved anew; read if that is missing
//   RUN/checkpoints/step_0000012000.removed/   being deleted
//   RUN/checkpoints/LATEST                     one line, the newest folder's name
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace muster {

constexpr const char* kModelFile = "model.safetensors";
constexpr const char* kOptimizerFile = "optimizer.safetensors";
constexpr const char* kEmaFile = "ema.safetensors";                // only of runs with train.ema
constexpr const char* kReferencesFile = "references.safetensors";  // only of runs with a reference bank
constexpr const char* kStateFile = "state.textproto";
constexpr const char* kConfigFile = "config.textproto";
constexpr const char* kManifestFile = "manifest.textproto";
constexpr const char* kLatestFile = "LATEST";
constexpr const char* kPartialSuffix = ".partial";
constexpr const char* kReplacedSuffix = ".replaced";
constexpr const char* kRemovedSuffix = ".removed";

// CheckpointManifest.format as written.
constexpr int kCheckpointFormat = 1;

// "step_0000012000"
std::string checkpoint_name(int64_t step);

// The step of a checkpoint's name with this suffix behind it; nullopt if it is not one.
std::optional<int64_t> step_of(const std::string& name, const std::string& suffix = "");

struct CheckpointFolder {
  int64_t step = 0;
  std::string name;  // with its suffix
};

// The folders of `suffix` ("" for whole checkpoints), newest first; whatever else lies there is passed over. Empty if
// the folder is not there. DataError: it
// cannot be listed.
std::vector<CheckpointFolder> list_checkpoints(const std::string& checkpoints, const std::string& suffix);

}  // namespace muster
