// KL(p || q) of each anchor's softmax p over the batch to its identity targets q: what sdm and cmpm are.
//
// For a row i with scale c_i, x = c_i s, p = softmax_j(x_ij), targets t_ij = y_ij t(n_i), n_i its number of positives,
// and l = log(t + epsilon):
//                  KL_i = sum_j p_ij (log p_ij - l_ij)
// and for a column j alike with its scale and its probabilities q. Mean over anchors, of weights w, sum of the two
// directions:
//                  L = (sum_i w_i KL_i + sum_j w_j KL_j) / sum w
// With u = x - max, Z = sum exp(u), H = sum exp(u) (u - l):
//                  KL = H / Z - log Z,   dL/dx = (w_i p (u - l - H / Z) of the row + w_j q (u - l - H / Z) of the
//                  column)
//                                                / sum w
// The weights of an anchor add up to 0, so that its scale's gradient is sum of dL/dx * s = sum of dL/dx * u / c.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "trainer/losses/pair_loss.h"
#include "trainer/losses/softmax_statistics.h"

namespace muster {

// l of the pairs of one anchor.
template <typename T>
struct KlTargets {
  int32_t code;
  T positive;
  T negative;
};

template <typename T>
struct KlRow {
  T scale;
  T max;
  T factor;  // weight / Z
  T mean;    // H / Z
};

template <typename T>
class IdentityKl : public PairLoss<T> {
 public:
  PairNeeds needs() const override;
  void begin(const PairBatch& batch, const ColumnStatistics& columns, const TileShape& shape) override;
  void fold(const Block<T>& block) override;
  void merge(int64_t tile_column, int64_t first, int64_t count, int64_t blocks) override;
  void rebase(const std::vector<const double*>& local) override;
  double finish(double weight) override;
  void weigh(const Block<T>& block, T* weights) override;
  void merge_weights(int64_t tile_column, int64_t first, int64_t count, int64_t blocks) override;
  std::vector<FoldPart<T>> fold_program() override;
  std::vector<WeighPart<T>> weigh_program() override;

 protected:
  // `column_totals`: the sum of weight * u is wanted for each column, not only over all.
  IdentityKl(double epsilon, bool column_totals) : epsilon_(epsilon), has_column_totals_(column_totals) {}

  // Rounded to T, not negative.
  virtual AnchorScales scales(const PairBatch& batch) const = 0;
  // t(n)
  virtual double target(double positives) const = 0;

  // Once all is weighed: sums of weight * u = c dL/dx * u, of each row in its own direction (in both directions without
  // column totals), and of this rank's pairs of each column in its.
  const std::vector<double>& row_totals() const { return row_totals_; }
  const std::vector<double>& column_totals() const { return column_totals_; }
  const SoftmaxStatistics<T>& softmax() const { return *softmax_; }
  const PairBatch& batch() const { return *batch_; }

 private:
  double epsilon_;
  bool has_column_totals_;
  const PairBatch* batch_ = nullptr;
  int64_t tile_columns_ = 0;
  std::unique_ptr<SoftmaxStatistics<T>> softmax_;
  std::vector<KlTargets<T>> targets_;
  std::vector<KlRow<T>> rows_;
  std::vector<T> column_scale_;
  std::vector<T> column_max_;
  std::vector<T> column_factor_;
  std::vector<T> column_mean_;
  std::vector<double> row_totals_;
  std::vector<double> column_totals_;
  std::vector<T> partial_totals_;  // [weigh blocks, tile columns]
  std::vector<T> row_arrays_[5];   // for a device, as weigh_program() gives them
};

}  // namespace muster
