// From a published file's tensors to ours.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

#include "dataloader/formats/safetensors.h"
#include "trainer/encoders/published_model.h"

namespace muster {

struct PublishedChoice {
  // Globs (fnmatch(3)) over the file's names: these tensors are not taken, nor missed if they are not there; ours keep
  // their values.
  std::vector<std::string> ignore;
  // Makes a position table, ours by name, of the file's, for another input size; same width, float32.
  std::function<at::Tensor(const std::string& ours, const at::Tensor& theirs)> fit;
};

// What became of a file's tensors, but for those of the model's that were taken.
struct PublishedOutcome {
  std::vector<std::string> ignored;    // theirs: left out by PublishedChoice::ignore
  std::vector<std::string> spare;      // theirs: the objective's scale or bias, for which `into` has no place
  std::vector<std::string> objective;  // ours: the objective's tensors that were taken
};

// Copies the file's tensors into `into`: a model's, and those of an objective ("objective.log_scale") that it may have.
// Tensors of float16 and others are converted, one at a time. Names and shapes are checked before anything is copied.
// DataError: a tensor of the model's that the file lacks, or has in another shape or as no floating-point numbers; one
// that the model has no place for; a damaged file. ConfigError: a glob that matches nothing.
PublishedOutcome copy_published(const PublishedModel& published, const PublishedChoice& choice,
                                const NamedTensors& into);

}  // namespace muster
