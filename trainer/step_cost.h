// What a training step costs each rank of a job of any size, from the config and a few counts alone: memory, bytes that
// travel, FLOP, and a model of its time. No tensor is made, nothing is measured. `muster train --dry-run` prints it.
//
// b: rows of the rank (split_rows() of train.global_batch B over N ranks); c: rows of a chunk; d: joint width; m: rows
// of the reference bank, of which a rank keeps `own`; W: trainable parameters; L: tokens of a caption; T: terms.
//
// Memory in bytes: step_memory() says each item's formula beside its figure. Exact items are what the real tensors
// take, to the byte (tests/trainer/step_cost_test.cpp); the others are bounds or estimates, and say which.
//
// Traffic: each collective of a step under the name it is called with, as comm/traffic.h counts bytes.
//   gradients          all-reduce of each bucket (buckets.h)
//   features           loss.text: all-gather of b d 4 (of words at most as many rows as the longest caption has, and if
//                      they are not gathered so often as there are passes); loss.pair_cosines: of 8 b
//   feature gradients  loss.text_gradient: reduce-scatter of B d 4; of words in losses that weigh few pairs all-to-all
//                      of at most that, and of their places; if they are not gathered, loss.text_again: the words
//                      before; loss.norm_gradient: of 8 B
//   column statistics  all-reduce of 8 B for each maximum, sum, index and sum of positives that the terms need
//                      (PairLoss::needs())
//   matrices of losses loss.whole: all-reduce of 8 for each number that a term of whole matrices sums
//                      (FeatureLoss::cost())
//   batch statistics   of token selection, images and captions: all-reduce of 8 (2 h + 1) forward and of 16 h backward
//                      for the hidden layer's width h
//   references         means of features: all-reduce of 16 d; identities: all-gather of 8 b
//                      replicated: all-reduce of the rows' gradient, m d 4
//                      sharded: all-gather of 2 b d 4, all-reduce of 32 B twice, reduce-scatter of 2 B d 4, norm: 8
//   heads              counts and sums: all-reduce of 8 each
//                      references of the batch (sharded): all-to-all of at most B d 4
//                      their gradients: b d 4, to all (replicated) or to whose rows they are (sharded)
//   agreement          rows, identities, values of the terms: all-gathers of 24, 8 b, 8 (T + 1); weights of clean
//   pairs: 8 b; whether to stop: 4
// In a world of one the calls of gather_rows() are not made; the others are, and send nothing.
//
// FLOP (2 a multiply-add): encoders as encoders/model_cost.h, once more forward if there is more than one chunk; the
// loss 4 products of b x B x d (3 if all pairs are one tile), as tile_engine.h makes them, terms of whole matrices
// their own (FeatureLoss::cost()); the bank 2 of them and one for each gradient (of a batch's references the most there
// can be); a head its own (head_cost.cpp), with the last block's work for tokens that are no features. Element-wise
// work is not counted.
//
// Time: FLOP / rate of matrix products, with nothing else; bytes / bandwidth + messages x latency a call. Gradient
// buckets hide behind the backward of the last chunk, all but the last of them; a replicated bank's gradient behind all
// that comes after the loss, captions' features behind the images' forward. Other calls hide nothing. A model, which
// real steps do not beat by much and may well miss.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "comm/traffic.h"
#include "trainer/encoders/model_cost.h"
#include "trainer/run_settings.h"

namespace muster {

struct StepJob {
  RunSettings settings;  // resolved
  int world = 1;
  int64_t caption_tokens = 0;  // up to the longest caption's end token, start and end included
  int64_t identities = 0;      // to train on; 0: no bank is kept
  int64_t some_identity = 0;   // one that is trained on
  bool gpu = false;            // each rank has one: what lies there and what on the host (step_memory())
  // Of the heads, under their full names ("heads.masked_words...."), in their order.
  std::vector<ParameterSize> head_parameters;
  double masked_words = 0;  // that heads.masked_words predicts, a sample
};

// The pairs of features whose similarities terms are made of or taught by, in the order of their first ones.
std::vector<std::string> pairs_of(const Objective& objective);

// Rows of a sample's image and text in a pair of features: as many as usual regions and the longest caption's tokens,
// of a pair with sets; else 1.
struct SampleRows {
  int64_t image = 1;
  int64_t text = 1;
};
SampleRows sample_rows(const StepJob& job, const std::string& pair);

// Rows of a rank, and of the chunks that they are cut into; with train.chunk AUTO as if all fitted.
int64_t rows_of(const StepJob& job, int rank);
int64_t chunk_rows(const StepJob& job, int rank);

// All that are trained, of model, heads and objective, in the order in which buckets are filled from. ConfigError: a
// group of the optimizer that matches nothing.
std::vector<ParameterSize> trainable_sizes(const StepJob& job);

// Numbers in each bucket of their gradients.
std::vector<int64_t> bucket_sizes(const StepJob& job);

struct MemoryItem {
  std::string what;
  int64_t bytes = 0;
  bool exact = false;
  bool on_gpu = false;  // else on the host
  std::string formula;
};

int64_t sum_of(const std::vector<MemoryItem>& items, bool on_gpu);

// What a rank holds at the most, beside the program itself. Rank 0 also holds a checkpoint's copy. With a GPU the
// model, its gradients and optimizer, activations, the losses' matrices and two batches' images lie there; batches
// being decoded, the bank of references and a checkpoint's copy stay on the host. Beside that the GPU holds CUDA's and
// the libraries' own, and what its allocator loses in gaps.
std::vector<MemoryItem> step_memory(const StepJob& job, int rank);

// A rank's rows, moments and means of the bank, and the gradient of its rows, sharded or not: how a placement compares.
int64_t reference_bytes(const StepJob& job, int rank, bool sharded);

enum class StepPart {
  kGradients,
  kFeatures,
  kFeatureGradients,
  kColumnStatistics,
  kLossSums,
  kBatchStatistics,
  kReferences,
  kHeads,
  kAgreement,
};
const char* describe(StepPart part);

struct StepCall {
  StepPart part;
  std::string name;  // as Communicator is called with
  Traffic traffic;
  bool is_bound = false;  // depends on the batch's identities: at most this
};

// Of one step, once ramps of weights are over. Calls of one name come once each, in no order.
std::vector<StepCall> step_calls(const StepJob& job, int rank);

struct StepFlop {
  double forward = 0;        // of the encoders, each chunk once
  double again = 0;          // the second forward of each chunk, where there is more than one
  double backward = 0;       // of the encoders
  double last_backward = 0;  // of them in the last chunk
  double loss = 0;
  double references = 0;
  double heads = 0;

  double sum() const { return forward + again + backward + loss + references + heads; }
};

StepFlop step_flop(const StepJob& job, int rank);
// Of the bank alone; 0 without one.
double references_flop(const StepJob& job, int rank);

struct Machine {
  double flops = 0;      // of a rank's matrix products, a second
  double bandwidth = 0;  // bytes a second that a rank sends
  double latency = 0;    // seconds a message
};

struct StepTime {
  double compute = 0;
  double network = 0;  // all calls
  double exposed = 0;  // what of it nothing hides
  double step = 0;
  double samples_per_second = 0;
  double efficiency = 0;  // samples a second and rank, of those of one rank with the whole batch
};

// Of rank 0, which has most rows.
StepTime step_time(const StepJob& job, const Machine& machine);

}  // namespace muster
