// What a loss computes of each pair of a tile, told as data: a device interprets it (fold_kernels.h, weigh_kernels.h),
// so that all losses of an objective share one sweep over a tile and none of them has device code of its own. No torch
// here.
//
// s is a pair's cosine; arrays of rows and of columns hold one number an anchor, [rows] and [columns]; a pair is
// positive if the codes of its row and its column are equal. Pointers are the host's where a loss gives them, and the
// device's where kernels read them. The formulas' sources are in the losses' files.
#pragma once

#include <cstdint>

namespace muster {

// Which pairs count.
enum class Members { kAll, kPositives, kNegatives };

// Pass 1: what is folded over rows and columns, by kind.
enum class FoldKind {
  // Scale c = row[0] | column[0] (nullptr: constant[1]); target t = row[1] (nullptr: 0) of a positive, constant[0] of
  // another. Over members, results 0: m = max s, 1: sum exp(u), u = c (s - m), 2, if moments: sum exp(u) (u - t).
  // kNoCosine and 0 without a member. Without column results of rows alone.
  kSoftmax,
  // Row result 0: sum over positives of s (row[0] + column[0]).
  kPositiveSum,
  // x = constant[0] s + constant[1], y = -x of a positive, x of another. Row result 0: sum of (row[0] + column[0])
  // log(1 + exp(y)).
  kSoftplus,
  // Results 0: max s over negatives, kNoCosine without one; indices: the first column, and the first row of all ranks',
  // that has it, kNoIndex without one.
  kHardest,
  // h = s - row[0] | s - column[0] over negatives. Results 0: sum of max(h, 0), 1: number of h > 0.
  kHinges,
};

template <typename T>
struct FoldPart {
  FoldKind kind = FoldKind::kSoftmax;
  Members members = Members::kAll;
  bool moments = false;
  const int32_t* row_codes = nullptr;
  const int32_t* column_codes = nullptr;
  const T* row[2] = {};
  const T* column[2] = {};
  T constant[2] = {};

  // Written over. Columns' are of this rank's rows.
  double* row_result[3] = {};
  double* column_result[3] = {};
  int64_t* row_index = nullptr;
  int64_t* column_index = nullptr;
};

// Pass 2: what is added to dL/ds of a pair, by kind. A direction's u is c (s - row[0]) | c (s - column[0]), with
// c = row[4] | column[4] (nullptr: constant[1]).
enum class WeighKind {
  // Of members row[1] exp(u) (u - t - row[2]), without row[2] row[1] exp(u), and the same of the column; t = row[3]
  // (nullptr: 0) of a positive, constant[0] of another. Without column[1] there is no direction of columns.
  // row_total[0]: sum over the row of weight * u, of the column's direction too unless column_total takes that.
  kSoftmax,
  // -(row[1] + column[1]) of a positive.
  kTarget,
  // Of a positive -row[1] / (1 + exp(u - row[2])), and the same of the column. row_total[0] as kSoftmax.
  kRivals,
  // constant[0] g, g = (row[1] + column[1]) (-1 of a positive, 1 of another) / (1 + exp(-y)), x and y as in kSoftplus.
  // row_total[0]: sum of g s, row_total[1]: sum of g.
  kSigmoid,
  // Of negatives row[1] if s > row[0], and column[1] if s > column[0].
  kStep,
  // row[1] where the column is row_index; column[1] where the row, of all ranks', is column_index.
  kEntry,
};

template <typename T>
struct WeighPart {
  WeighKind kind = WeighKind::kSoftmax;
  Members members = Members::kAll;
  const int32_t* row_codes = nullptr;
  const int32_t* column_codes = nullptr;
  const T* row[5] = {};
  const T* column[5] = {};
  T constant[2] = {};
  const int64_t* row_index = nullptr;
  const int64_t* column_index = nullptr;

  // Added to.
  double* row_total[2] = {};
  double* column_total = nullptr;
};

}  // namespace muster
