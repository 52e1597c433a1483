// The two passes of tile_engine.h on a device: products by its library, losses by their programs (tile_program.h).
// Nothing of size rows x columns exists here either: one tile, its weights, one block of unit rows and one of columns.
//
// With half products the unit rows are rounded to float16 once, and the weights of a tile too, times a power of two
// that keeps the largest below float16's; products are summed in float32 and statistics are as ever. A loss is then
// that of the rounded rows, and its gradient passes the rounding as if it were not there.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "trainer/losses/tile_device.h"
#include "trainer/losses/tile_loss.h"

namespace muster {

template <typename T>
class DeviceEngine {
 public:
  static constexpr bool kRowsHaveLengths = true;
  static constexpr bool kWeighsPairs = false;

  // rows [b, d] and columns [B, d] are raw, contiguous, of type T, on the device; local row i is row offset + i of all
  // ranks. half: T is float.
  DeviceEngine(const at::Tensor& rows, const at::Tensor& columns, int64_t offset, const TileShape& shape,
               const TileDevice& device, bool half);

  // As TileEngine's. Results are on the host when fold() and weigh() return.
  void fold(const TileLosses<T>& losses);
  void weigh(const TileLosses<T>& losses, const at::Tensor& d_rows, const at::Tensor& d_columns);
  void rows_backward(int64_t first, const at::Tensor& gradient, const double* norm_gradient) const;
  void columns_backward(int64_t first, const at::Tensor& gradient, const double* norm_gradient) const;
  std::vector<double> row_norms() const { return row_unit_.norms(); }
  std::vector<double> column_norms() const { return column_unit_.norms(); }
  std::vector<double> pair_cosines(const std::vector<std::pair<int64_t, int64_t>>& pairs) const;
  bool all_finite() const { return row_unit_.all_finite() && column_unit_.all_finite(); }

 private:
  // Raw rows and what makes them rows of length one.
  class Unit {
   public:
    Unit(const at::Tensor& raw, bool half);

    int64_t size() const { return raw_.size(0); }
    // Unit rows [first, first + out.size(0)).
    void load(int64_t first, at::Tensor out) const;
    // Unit rows of these indices, of type T, rounded as load() does.
    at::Tensor select(const at::Tensor& indices) const;
    void backward(int64_t first, const at::Tensor& gradient, const double* norm_gradient) const;
    std::vector<double> norms() const;
    bool all_finite() const;

   private:
    at::Tensor raw_;
    at::Tensor norm_;     // [rows, 1] float64, 0 for those that count as zero
    at::Tensor inverse_;  // [rows, 1] of type T, 0 for those
    bool half_;
  };

  struct Tile {
    DeviceTile<T> tile;
    at::Tensor rows;     // unit rows [r, d], float16 with half products
    at::Tensor columns;  // unit columns [c, d]
    at::Tensor cosines;  // [r, c]
  };

  template <typename Visit>
  void for_each_tile(const Visit& visit);
  void product(const at::Tensor& to, const at::Tensor& a, const at::Tensor& b, bool accumulate) const;
  void make_groups(size_t parts);
  template <typename Call>
  void place_groups(Call& call, int count) const;

  const TileDevice& device_;
  TileShape shape_;
  int64_t offset_;
  bool half_;
  Unit row_unit_;
  Unit column_unit_;
  at::Tensor row_buffer_;
  at::Tensor column_buffer_;
  at::Tensor tile_buffer_;
  at::Tensor half_weights_;
  int64_t numbers_of_groups_ = 0;  // of one part and slot
  at::Tensor group_numbers_;       // room for the GroupResults of all parts
  at::Tensor group_indices_;
  bool tile_is_current_ = false;  // the only tile there is still holds its cosines
};

}  // namespace muster
