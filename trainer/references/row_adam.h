// Adam (Kingma and Ba, 2015) on rows that are kept at length 1, in one pass over memory: what the references' owner
// does after each step. No torch here.
//
//   m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  p -= rate / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + epsilon)
//   p /= |p|
// with t counted for each row: a row that is left out keeps its values, its moments and its t.
#pragma once

#include <cstdint>

namespace muster {

struct AdamNumbers {
  double rate;
  double beta1;
  double beta2;
  double epsilon;
};

// One row [width] and its state; `gradient` null: zeros.
template <typename T>
struct AdamRow {
  T* row;
  T* exp_avg;
  T* exp_avg_sq;
  int64_t* step;
  const T* gradient;
};

template <typename T>
void adam_on_unit_row(const AdamRow<T>& row, int64_t width, const AdamNumbers& numbers, double gradient_scale);

// Of one row, in double.
template <typename T>
double squared_length(const T* row, int64_t width);

// To length 1, in place; false, and nothing done, if its length is 0 or not finite.
template <typename T>
bool normalise_row(T* row, int64_t width);

}  // namespace muster
