// A model and its optimizer as every rank holds them: named tensors out, tensors in, the same on all ranks.
#pragma once

#include <string>

#include "comm/communicator.h"
#include "dataloader/formats/safetensors.h"
#include "trainer/checkpoint.h"
#include "trainer/encoders/model.h"
#include "trainer/heads/head.h"
#include "trainer/losses/objective.h"
#include "trainer/optimizer.h"

namespace muster {

// The model's parameters and buffers, sharing their memory.
NamedTensors model_tensors(const Model& model);

// The model's parameters and buffers and the heads' and the objective's parameters, sharing their memory.
NamedTensors replica_tensors(const Model& model, const LossObjective& objective, const Heads& heads = {});

// The same without those of heads: what evaluation needs of a checkpoint.
NamedTensors without_heads(const NamedTensors& tensors);

// The model's, the heads' and the objective's parameters that are trained; the frozen ones are cut off from autograd.
// ConfigError: a group whose glob matches nothing, or nothing left to train.
NamedParameters take_trainable(Model& model, const LossObjective& objective, const OptimizerConfig& config,
                               const Heads& heads = {});

// Copies a checkpoint's tensors into `into`. DataError naming the first tensor that is missing, left over, or of
// another shape: the checkpoint is of another model.
void copy_tensors(const NamedTensors& from, const NamedTensors& into, const std::string& where);

// Collective. Every rank ends with rank 0's tensors.
void broadcast_tensors(const NamedTensors& tensors, Communicator& communicator, const std::string& name);

// Collective. Rank 0's message on every rank.
std::string broadcast_string(const std::string& text, Communicator& communicator, const std::string& name);

}  // namespace muster
