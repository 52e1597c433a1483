// A dual encoder of ours as others' programs load it: the tensors under their names, and the configs beside them.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "dataloader/dataloader.pb.h"
#include "dataloader/formats/safetensors.h"
#include "trainer/encoders/encoders.pb.h"
#include "trainer/encoders/published_names.h"

namespace muster {

// One folder of files.
struct PublishedExport {
  std::string weights_name;                                // of the safetensors file
  NamedTensors tensors;                                    // sharing memory where the form allows
  std::vector<std::pair<std::string, std::string>> texts;  // the other files: name, content
  std::vector<std::string> left_out;                       // ours that their program has no place for
};

// `model` is resolved; `ours` are all of its tensors, "objective.log_scale" (theirs have one always) and perhaps
// "objective.logit_bias". kTransformers: for CLIPModel.from_pretrained and CLIPImageProcessor; kClip: for open_clip's
// "local-dir:FOLDER". ConfigError: a model that their program cannot hold (CLIPModel: images that are no squares).
// std::logic_error: a tensor is missing, or of another shape than the model's.
PublishedExport make_published_export(NameStyle style, const ModelConfig& model, const ImageTransformConfig& images,
                                      const NamedTensors& ours);

}  // namespace muster
