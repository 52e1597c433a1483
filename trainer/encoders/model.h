// What the trainer asks of a model: from a batch to live features. The step never asks which method runs.
#pragma once

#include <torch/nn/module.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "dataloader/batch.h"
#include "trainer/encoders/encoders.pb.h"
#include "trainer/encoders/model_config.h"
#include "trainer/features.h"

namespace muster {

// Features in two phases: begun, with the texts there, and finished, with the images. Between the two the texts travel
// to the other ranks.
struct ForwardPass {
  Features texts;                    // every pair with its name and its text [b, d], and tokens; images are not defined
  std::function<Features()> finish;  // once: all features, whose texts are those above
};

// Parameters are named by the modules' paths, e.g. "image.blocks.0.attention.qkv.weight": the names in checkpoints.
// Random choices (dropout) are pure functions of (seed, batch.position, layer): two forwards of the same rows give the
// same bits, and results do not depend on how the batch was cut.
class Model : public torch::nn::Module {
 public:
  // Training passes with a graph are of all ranks' rows from now on: collective where the model says so
  // (Features::cuts), on ranks without rows too. Without it this rank's rows are all there are. The communicator must
  // outlive the passes.
  virtual void join(Communicator& /*communicator*/) {}

  // Features of the batch's rows, in their order, with a graph if grad mode is on. `seed` is the run's; dropout is
  // active only in training mode (train()). A batch without rows gives features of shape [0, d], without a graph but
  // behind a cut (Features::cuts). `tokens`: what else this pass is to give, with the texts. ConfigError: images or
  // tokens that do not fit the model's sizes, token ids beyond its vocabulary.
  //
  // Texts come first where they can: a model whose texts need its images computes both at once, and its finish() has
  // nothing to do but to hand them over; one whose images need the texts keeps in finish() what they need. That should
  // be little beside the batch, as the passes of all chunks of a slice are begun before the first is finished. Grad
  // mode, training mode, autocast and parameters are the same in both phases; the pass does not outlive the model.
  virtual ForwardPass begin_forward(const Batch& batch, uint64_t seed, const TokenRequest& tokens) = 0;
  Features forward(const Batch& batch, uint64_t seed, const TokenRequest& tokens = {}) {
    return begin_forward(batch, seed, tokens).finish();
  }

  // One tower alone, for evaluation: a batch's images (or regions; nothing else of it is looked at) -> [b,e]; tokens
  // [b,L] int64 on the CPU -> [b,e], e as embedding_width() says. Of a model with one pair of features with a row a
  // sample that is the pair's; of one with several such pairs, rows whose cosine is the mean of the pairs' cosines. No
  // dropout.
  // Here and above, images and regions may lie on the CPU or on the model's device, all else of a batch lies on the
  // CPU; what comes back is on the model's device.
  virtual at::Tensor encode_image(const Batch& batch) = 0;
  virtual at::Tensor encode_text(const at::Tensor& tokens) = 0;
  // The same and what the pair with sets of rows has, of a model that has one (has_sets()).
  virtual SetOutputs encode_image_sets(const Batch& batch);
  virtual SetOutputs encode_text_sets(const at::Tensor& tokens);

  // The text tower's output for each token, in the joint space, with a graph if grad mode is on: [b, T, d], T reaching
  // to the batch's last end token or, with `padding`, of all L. A pass of its own over batch.tokens, with dropout masks
  // of its own. For heads.
  virtual at::Tensor text_tokens(const Batch& batch, uint64_t seed, bool padding) = 0;
  // The image tower's output for the class token and for some patches, the others being left out before the first
  // block: [b, 1 + k, d], from batch.images and `kept` [b, k], int64 on the CPU, patches counted along rows. Else as
  // text_tokens().
  virtual at::Tensor image_tokens(const Batch& batch, const at::Tensor& kept, uint64_t seed) = 0;
  // The parameter [vocabulary, w] that the text tower takes its tokens from, for heads that share it.
  virtual at::Tensor token_embedding() const = 0;
  // Those whose gradients are final once backward is through all Features::cuts.
  virtual std::vector<at::Tensor> parameters_behind_cuts() const { return {}; }

  // Where the parameters are: on the CPU until somebody moves them (torch::nn::Module::to).
  at::Device device() const { return token_embedding().device(); }

  // Of each parameter, by name: how many layers of its tower lie between it and the features. 0 behind the last block,
  // 1 in the last block, blocks + 1 for embeddings.
  virtual std::map<std::string, int64_t> layers_above() const = 0;
};

// Initialised as CLIP is, from `seed` alone: the same bits on every rank and world size. Takes a resolved config.
// ConfigError: its weights alone are more than the machine's memory.
std::shared_ptr<Model> make_model(const ModelConfig& config, uint64_t seed);

}  // namespace muster
