// From a published BERT's tensors to ours.
#pragma once

#include <string>
#include <vector>

#include "dataloader/formats/safetensors.h"
#include "trainer/encoders/encoders.pb.h"
#include "trainer/encoders/weight_file.h"

namespace muster {

struct BertSizes;

// Copies the file's tensors into `into`, a Bert's parameters under `prefix` ("text.bert."; others are not looked at).
// The file is transformers' BertModel, with or without "bert." in front of its names, as sentence-transformers keep it
// too. float16 and others are converted. Names and shapes are checked before anything is copied. Returns what the file
// has beyond: blocks, a pooler, heads, by modules ("encoder.layer.6", "pooler"). DataError: a tensor is missing or of
// another shape, and which; a damaged file.
std::vector<std::string> copy_bert(const WeightFile& file, const BertSizes& sizes, const std::string& prefix,
                                   const NamedTensors& into);
// The same into a model of regions.
std::vector<std::string> copy_bert(const WeightFile& file, const ModelConfig& config, const NamedTensors& into);

}  // namespace muster
