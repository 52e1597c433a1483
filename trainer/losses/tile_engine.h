// The two passes over tiles of cosines. Nothing of size rows x columns exists: one tile, one column block and one row
// block of unit rows are all the memory it takes (14 MiB at width 512 in float).
//
// Columns are outermost, so each column's gradient is finished in one go and every sum has a fixed order.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "trainer/losses/tile_loss.h"
#include "trainer/losses/unit_rows.h"

namespace muster {

template <typename T>
class TileEngine {
 public:
  static constexpr bool kRowsHaveLengths = true;
  static constexpr bool kWeighsPairs = false;

  // rows [b, d] and columns [B, d] are raw, contiguous, of type T, on the CPU.
  TileEngine(const at::Tensor& rows, const at::Tensor& columns, const TileShape& shape);

  // Pass 1: each loss folds each tile.
  void fold(const TileLosses<T>& losses);

  // Pass 2: the losses' weights, and their products with columns and rows. Writes all of d_rows [b, d] and
  // d_columns [B, d]: gradients with respect to the UNIT rows and columns. An undefined one is not computed.
  void weigh(const TileLosses<T>& losses, const at::Tensor& d_rows, const at::Tensor& d_columns);

  // In place: from gradients of unit rows to those of raw rows, given those of their lengths (nullptr: 0), for rows or
  // columns [first, first + count).
  void rows_backward(int64_t first, const at::Tensor& gradient, const double* norm_gradient) const;
  void columns_backward(int64_t first, const at::Tensor& gradient, const double* norm_gradient) const;

  // Lengths of the raw rows; 0 for those that count as zero.
  std::vector<double> row_norms() const;
  std::vector<double> column_norms() const;

  // Cosines of pairs of a row and a column.
  std::vector<double> pair_cosines(const std::vector<std::pair<int64_t, int64_t>>& pairs) const;

  // False if a row or column is not finite.
  bool all_finite() const { return unit_rows_.all_finite() && unit_columns_.all_finite(); }

 private:
  struct Tile {
    int64_t first_row;
    int64_t first_column;
    at::Tensor rows;     // unit rows [r, d]
    at::Tensor columns;  // unit columns [c, d]
    at::Tensor cosines;  // [r, c]
  };

  void for_each_tile(const std::function<void(const Tile&)>& visit);
  void multiply(const Tile& tile);
  void fold_tile(const Tile& tile, const TileLosses<T>& losses);
  void weigh_tile(const Tile& tile, const TileLosses<T>& losses);

  int64_t row_count_;
  int64_t column_count_;
  int64_t width_;
  TileShape shape_;
  at::Tensor rows_;
  at::Tensor columns_;
  UnitRows<T> unit_rows_;
  UnitRows<T> unit_columns_;
  at::Tensor row_buffer_;
  at::Tensor column_buffer_;
  at::Tensor tile_buffer_;
  std::vector<std::vector<T>> weights_;  // one buffer a thread
  bool tile_is_current_ = false;         // the only tile there is still holds its cosines
};

}  // namespace muster
