// Rows scaled to length one without a second copy of the matrix: a tile asks for the rows it needs. No torch here.
//
// A row with norm <= kNormEpsilon counts as zero: its cosines are 0 and so is its gradient (its direction is undefined;
// dividing by a clamped norm would give gradients 1e12 times too large). Norms are computed in double.
#pragma once

#include <cstdint>
#include <vector>

namespace muster {

constexpr double kNormEpsilon = 1e-12;

template <typename T>
class UnitRows {
 public:
  // `data` [rows, width], contiguous, must outlive this. measure() must cover all rows before the rest is called.
  UnitRows(const T* data, int64_t rows, int64_t width);

  // The methods below work on rows [first, first + count) and may run in several threads for different rows.

  void measure(int64_t first, int64_t count);

  // out [count, width] = row / norm.
  void load(int64_t first, int64_t count, T* out) const;

  // gradient [count, width], in place: from d / d unit rows to d / d raw rows, (g - (g . u) u) / norm + r u, where
  // r [count] is d / d norm (nullptr: 0).
  void backward(int64_t first, int64_t count, const double* norm_gradient, T* gradient) const;

  // y [count, width], in place: y - (y . u) u. The same where d / d unit rows is y times the row's length.
  void project(int64_t first, int64_t count, T* y) const;

  // Of row i and row j of `other`, 0 if one counts as zero.
  double cosine(int64_t i, const UnitRows& other, int64_t j) const;

  // 0 for rows that count as zero.
  double norm(int64_t row) const;

  // False if a row is infinite or NaN anywhere.
  bool all_finite() const;

 private:
  const T* data_;
  int64_t width_;
  std::vector<double> inverse_norm_;  // 0 for zero rows
};

}  // namespace muster
