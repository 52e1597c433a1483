// Softmax cross-entropy of samples (rows) over references (columns), one or more right references a sample: what global
// fusion and reference-guided learning (MMRef) have in common.
//
//   l_i = LSE_k(x_ik) - LSE_{p in P(i)}(x_ip),   x = scale * cosine, P(i) the sample's own;   L = sum_i factor_i l_i
//   dL/ds_ik = scale * factor_i (softmax_k(x_i) - [k in P(i)] softmax_{P(i)}(x_i)_k)
//
// With one of its own that is x_ip; with more, the negative log of the probability that the softmax gives them together
// (references.proto, per_identity). All statistics are of rows, four numbers each: where columns are spread over ranks,
// they are combined between the passes. No torch here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "trainer/losses/tile_loss.h"

namespace muster {

// Consecutive references: [begin, end).
struct ReferenceRange {
  int64_t begin = 0;
  int64_t end = 0;
};

template <typename T>
class ReferenceCrossEntropy : public TileLoss<T> {
 public:
  // own[i]: the columns of row i's own references, those among these `columns`. Ranges of two rows are equal or apart.
  ReferenceCrossEntropy(std::vector<ReferenceRange> own, std::vector<double> factor, double scale, int64_t columns);

  void fold(const Block<T>& block) override;
  void weigh(const Block<T>& block, T* weights) override;
  std::vector<FoldPart<T>> fold_program() override;
  std::vector<WeighPart<T>> weigh_program() override;

  // After pass 1, [rows] each: the largest cosine (-4 if there are no columns), sum of exp(scale * (s - max)); the same
  // of the own references (-4 and 0 if none is here).
  std::vector<double>& max() { return max_; }
  std::vector<double>& sum() { return sum_; }
  std::vector<double>& own_max() { return own_max_; }
  std::vector<double>& own_sum() { return own_sum_; }

  // Sums are counted from these maxima from now on.
  void rebase(const std::vector<double>& max, const std::vector<double>& own_max);

  // The sum of factor_i l_i of rows [first, first + count), once statistics are complete.
  double value(int64_t first, int64_t count) const;

 private:
  template <typename Visit>
  void visit_own(const Block<T>& block, size_t row, const Visit& visit) const;

  std::vector<ReferenceRange> own_;
  std::vector<double> factor_;
  double scale_;
  int64_t columns_;
  std::vector<double> max_;
  std::vector<double> sum_;
  std::vector<double> own_max_;
  std::vector<double> own_sum_;
  // For a device.
  std::vector<int32_t> row_codes_;  // where the own references begin
  std::vector<int32_t> column_codes_;
  std::vector<T> row_arrays_[4];
};

}  // namespace muster
