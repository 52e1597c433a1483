// The reference bank of MMRef: one unit vector (or a few) for each training identity, the same logical matrix for every
// rank, and the losses between it and the global batch (references.proto says what they are).
//
// REPLICATED: every rank has every row. Its own samples meet all rows; the rows' gradients are summed over ranks.
// SHARDED: every rank has a range of rows (split_rows() of the order). All samples' features come to each range; four
// numbers a sample are combined over ranks, and the features' partial gradients go home by reduce-scatter. Nothing of
// the bank's size travels, and no rank holds more than its range: rows, gradient and two moments.
// Both give the same value and gradients to rounding, for any number of ranks and any cut of the batch.
//
// Source: mmref.md's reconstruction of Ma et al. (2025), equations of S_Fuse and L_Fuse; L_RGRL is inferred. With
// g_ki = (softmax_k(S_ki / tau) - [k = y_i]) / (2 N tau): dL/dRhat_k = sum_i g_ki Ehat_i, dL/dEhat_i = sum_k g_ki
// Rhat_k.
//
// For one thread. Collective methods are called by every rank in the same order.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "dataloader/formats/safetensors.h"
#include "launch/checks.h"
#include "trainer/features.h"
#include "trainer/losses/tile_device.h"
#include "trainer/losses/tile_loss.h"
#include "trainer/references/reference_cross_entropy.h"
#include "trainer/references/reference_order.h"
#include "trainer/references/references.pb.h"

namespace muster {

// Whether the config asks for a bank.
bool keeps_references(const ReferencesConfig& config);

// Whether a bank of so many rows is cut over the ranks.
bool shards_references(const ReferencesConfig& config, int64_t rows, int64_t global_batch, int ranks);

// What is impossible in a config, each naming its field.
void check_references(const ReferencesConfig& config, Checks& checks);

struct ReferenceResult {
  // The cross-entropy over the global batch, the same bits on every rank; NaN if features are not finite.
  double value = 0;
  // What training minimises of it: value * (fusion weight + guidance weight as it is now).
  double weighted = 0;
  // d (guidance weight * value) / d raw features of this rank's rows; undefined while that weight is 0.
  at::Tensor d_image;
  at::Tensor d_text;
};

class ReferenceBank {
 public:
  // Rows of zeros until initialised or loaded. `identities`: of all that is trained on, the same on every rank;
  // float32, or float64 for tests. The communicator must outlive the bank. `global_batch` decides AUTO's placement.
  // Rows, their optimizer's numbers and their gradient are on the CPU, whatever `device` is; their cosines with
  // features are computed there, which then holds the rows and their gradient during evaluate() too.
  ReferenceBank(const ReferencesConfig& config, std::vector<int64_t> identities, int64_t width, uint64_t seed,
                int64_t global_batch, Communicator& communicator, at::ScalarType dtype = at::kFloat,
                const TileShape& shape = {}, const LossDevice& device = {});

  // Random directions, a function of (seed, identity, which of its rows).
  void initialise_normal();

  // Directions of sums: begin, add [n] identities and [n, width] features as often as there are batches, end. A rank
  // whose data ends before the others' adds empty batches. Of several rows of an identity the first gets the direction,
  // the others that plus a quarter of a random one. Identities of which nothing was added get random directions; end
  // returns how many those were. Collective.
  void begin_sums();
  void add_to_sums(const at::Tensor& identity, const at::Tensor& features);
  int64_t end_sums();

  // The place of the config's pair among the features. ConfigError if it is not there.
  size_t find_pair(const Features& features) const;

  // Value and the features' gradients, both where the bank's device is; the references' are kept until step(). Labels
  // are on the CPU. DataError: an identity without a row.
  // Collective.
  ReferenceResult evaluate(const FeaturePair& features, const Labels& labels, const Progress& progress);

  // [n, width]: the reference (of several the first) of each of this rank's samples in the batch of the last
  // evaluate(), a copy; and a gradient for those, which is added to the references'. Samples of one identity are added
  // in the order of the global batch. Between evaluate() and finish_gradient(). std::logic_error: evaluate() was not
  // called. Collective.
  at::Tensor rows_of_batch();
  void add_row_gradients(const at::Tensor& d_rows);

  // Waits until the references' gradient is complete; returns the square of its norm over all ranks, the same on every
  // rank. Collective.
  double finish_gradient();

  // One update at rate config.rate * rate_factor, of gradients times gradient_scale, and lengths back to 1. Nothing
  // where there is no gradient: fusion_weight is 0 and none was added. std::logic_error: evaluate() was not called
  // before. A batch that no step() follows leaves no trace.
  void step(double rate_factor, double gradient_scale);

  bool is_sharded() const { return sharded_; }
  const ReferenceOrder& order() const { return order_; }
  int64_t width() const { return width_; }
  int64_t first_row() const { return first_row_; }
  // This rank's rows [own, width], sharing memory; and the gradient of the last evaluation, of all of them (zeros for
  // those that took no part).
  const at::Tensor& rows() const { return rows_; }
  at::Tensor gradient() const;

  // What a checkpoint holds, sharing memory. Of this rank's rows: "rows", "exp_avg", "exp_avg_sq" [own, width],
  // "identity", "step" [own] int64; with several rows an identity "slot" [own] int64, which of them it is.
  NamedTensors row_state() const;
  // The same on all ranks: "mean.image", "mean.text" [width], the running means of unit features over training, and
  // "mean.updates" ([1] int64).
  NamedTensors means() const;

  // Takes over the rows of such a state that this rank has, by identity and slot; returns how many. A row whose state
  // holds only "rows", "identity" and, if there are several, "slot" starts as new. std::logic_error: another width.
  int64_t take_rows(const NamedTensors& state);
  void take_means(const NamedTensors& state);

  // One line for the log.
  std::string describe() const;

 private:
  // Which rows the evaluated batch's samples take part in.
  struct RowTravel {
    std::vector<std::vector<int64_t>> asked_by;   // of each rank's samples, in their order: own rows, those of others
                                                  // left out
    std::vector<std::vector<int64_t>> places_at;  // sharded: of this rank's samples, by the rank that has the row
  };

  template <typename T>
  ReferenceResult evaluate_as(const FeaturePair& features, const Labels& labels, double guidance);
  template <typename T, typename Engine>
  ReferenceResult evaluate_with(Engine& engine, ReferenceCrossEntropy<T>& loss, const at::Tensor& own,
                                const std::vector<int64_t>& samples_of_rank, int64_t first, const at::Tensor& columns,
                                double guidance);
  template <typename T>
  void step_as(double rate_factor, double gradient_scale);
  template <typename T>
  int64_t normalise_rows();
  template <typename T>
  void draw_row(int64_t own_row);
  template <typename T>
  void move_apart(int64_t own_row);
  std::vector<float> random_values(int64_t own_row) const;
  double guidance_weight(double epoch) const;
  int64_t slot_of(int64_t own_row) const { return (first_row_ + own_row) % order_.per_identity(); }
  std::vector<ReferenceRange> own_rows_of(const at::Tensor& identity) const;
  void choose_active(const std::vector<ReferenceRange>& rows_of_samples);
  at::Tensor batch_means(const FeaturePair& features, int64_t global_rows) const;
  void update_means();
  RowTravel row_travel() const;
  void make_gradient(int64_t rows);

  ReferencesConfig config_;
  ReferenceOrder order_;
  int64_t width_;
  uint64_t seed_;
  Communicator& communicator_;
  TileShape shape_;
  LossDevice device_;
  bool sharded_;
  int64_t first_row_ = 0;

  at::Tensor rows_, exp_avg_, exp_avg_sq_;  // [own, width]
  at::Tensor steps_;                        // [own] int64
  at::Tensor identity_, slot_;              // [own] int64
  at::Tensor mean_image_, mean_text_;       // [width] of the rows' dtype
  at::Tensor mean_updates_;                 // [1] int64
  at::Tensor batch_means_;                  // [2, width]: image, text; of the evaluated batch

  at::Tensor batch_identities_;      // [N] int64, of the global batch that was evaluated
  std::vector<int64_t> batch_rows_;  // of it on each rank
  std::vector<int64_t> active_;      // BATCH: own rows that take part, ascending
  at::Tensor gradient_;              // [own or active, width]
  Work gradient_sum_;
  bool evaluated_ = false;     // since the last step
  bool has_gradient_ = false;  // of this batch
};

}  // namespace muster
