// Softmax cross-entropy of samples (rows) over references (columns), one right reference a sample: what global fusion
// and reference-guided learning (MMRef) have in common.
//
//   l_i = LSE_k(x_ik) - x_ip,   x = scale * cosine, p the sample's own reference;   L = sum_i factor_i l_i
//   dL/ds_ik = scale * factor_i (softmax_k(x_i) - [k = p])
//
// All statistics are of rows, three numbers each: where columns are spread over ranks, they are combined between the
// passes. No torch here.
#pragma once

#include <cstdint>
#include <vector>

#include "trainer/losses/tile_loss.h"

namespace muster {

template <typename T>
class ReferenceCrossEntropy : public TileLoss<T> {
 public:
  // target[i]: the column of row i's own reference; -1 if it is not among these columns.
  ReferenceCrossEntropy(std::vector<int64_t> target, std::vector<double> factor, double scale);

  void fold(const Block<T>& block) override;
  void weigh(const Block<T>& block, T* weights) override;

  // After pass 1, [rows] each: the largest cosine (-4 if there are no columns), sum of exp(scale * (s - max)), the own
  // reference's cosine (0 if it is not here).
  std::vector<double>& max() { return max_; }
  std::vector<double>& sum() { return sum_; }
  std::vector<double>& positive() { return positive_; }

  // Sums are counted from these maxima from now on.
  void rebase(const std::vector<double>& max);

  // The sum of factor_i l_i of rows [first, first + count), once statistics are complete.
  double value(int64_t first, int64_t count) const;

 private:
  std::vector<int64_t> target_;
  std::vector<double> factor_;
  double scale_;
  std::vector<double> max_;
  std::vector<double> sum_;
  std::vector<double> positive_;
};

}  // namespace muster
