#include "trainer/losses/tile_engine.h"

#include <ATen/ops/empty.h>

#include <algorithm>

#include "trainer/losses/tile_work.h"

namespace muster {
namespace {

constexpr int64_t kRowsPerTask = 64;
constexpr int64_t kColumnsPerTask = 256;

int64_t blocks_of(int64_t rows, int64_t block_rows) {
  return (rows + block_rows - 1) / block_rows;
}

}  // namespace

template <typename T>
TileEngine<T>::TileEngine(const at::Tensor& rows, const at::Tensor& columns, const TileShape& shape)
    : row_count_(rows.size(0)),
      column_count_(columns.size(0)),
      width_(columns.size(1)),
      shape_(shape),
      rows_(rows),
      columns_(columns),
      unit_rows_(rows.const_data_ptr<T>(), row_count_, width_),
      unit_columns_(columns.const_data_ptr<T>(), column_count_, width_) {
  const int64_t tile_rows = std::min(shape.rows, row_count_);
  const int64_t tile_columns = std::min(shape.columns, column_count_);
  row_buffer_ = at::empty({tile_rows, width_}, rows.options());
  column_buffer_ = at::empty({tile_columns, width_}, rows.options());
  tile_buffer_ = at::empty({tile_rows * tile_columns}, rows.options());
  weights_.resize(static_cast<size_t>(at::get_num_threads()));
  for (auto& buffer : weights_) buffer.resize(static_cast<size_t>(shape.weigh_rows * tile_columns));
  in_parallel(row_count_, kRowsPerTask, [&](int64_t i, int64_t end) { unit_rows_.measure(i, end - i); });
  in_parallel(column_count_, kRowsPerTask, [&](int64_t i, int64_t end) { unit_columns_.measure(i, end - i); });
}

template <typename T>
void TileEngine<T>::for_each_tile(const std::function<void(const Tile&)>& visit) {
  const bool rows_fit = row_count_ <= shape_.rows;
  T* row_data = row_buffer_.template data_ptr<T>();
  T* column_data = column_buffer_.template data_ptr<T>();
  for (int64_t column = 0; column < column_count_; column += shape_.columns) {
    const int64_t columns = std::min(shape_.columns, column_count_ - column);
    in_parallel(columns, kRowsPerTask,
                [&](int64_t i, int64_t end) { unit_columns_.load(column + i, end - i, column_data + i * width_); });
    for (int64_t row = 0; row < row_count_; row += shape_.rows) {
      const int64_t rows = std::min(shape_.rows, row_count_ - row);
      if (!rows_fit || column == 0) {
        in_parallel(rows, kRowsPerTask,
                    [&](int64_t i, int64_t end) { unit_rows_.load(row + i, end - i, row_data + i * width_); });
      }
      visit({row, column, row_buffer_.narrow(0, 0, rows), column_buffer_.narrow(0, 0, columns),
             tile_buffer_.narrow(0, 0, rows * columns).view({rows, columns})});
    }
  }
}

template <typename T>
void TileEngine<T>::multiply(const Tile& tile) {
  product(tile.cosines, tile.rows, tile.columns.t(), false);
}

template <typename T>
void TileEngine<T>::fold(const TileLosses<T>& losses) {
  for_each_tile([&](const Tile& tile) {
    multiply(tile);
    fold_tile(tile, losses);
  });
  tile_is_current_ = row_count_ <= shape_.rows && column_count_ <= shape_.columns;
}

template <typename T>
void TileEngine<T>::fold_tile(const Tile& tile, const TileLosses<T>& losses) {
  const T* cosines = tile.cosines.template const_data_ptr<T>();
  const int64_t rows = tile.cosines.size(0);
  const int64_t columns = tile.cosines.size(1);
  const int64_t blocks = blocks_of(rows, shape_.block_rows);
  in_parallel(blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t index = begin; index < end; ++index) {
      const int64_t row = index * shape_.block_rows;
      const int64_t count = std::min(shape_.block_rows, rows - row);
      const Block<T> block{cosines + row * columns, count, columns, tile.first_row + row, tile.first_column, index};
      for (TileLoss<T>* loss : losses) loss->fold(block);
    }
  });
  in_parallel(columns, kColumnsPerTask, [&](int64_t begin, int64_t end) {
    for (TileLoss<T>* loss : losses) loss->merge(tile.first_column, begin, end - begin, blocks);
  });
}

template <typename T>
void TileEngine<T>::weigh(const TileLosses<T>& losses, const at::Tensor& d_rows, const at::Tensor& d_columns) {
  if (row_count_ == 0 && d_columns.defined()) d_columns.zero_();
  if (column_count_ == 0 && d_rows.defined()) d_rows.zero_();
  for_each_tile([&](const Tile& tile) {
    if (!tile_is_current_) multiply(tile);
    weigh_tile(tile, losses);
    if (d_rows.defined()) {
      product(d_rows.narrow(0, tile.first_row, tile.rows.size(0)), tile.cosines, tile.columns, tile.first_column > 0);
    }
    if (d_columns.defined()) {
      product(d_columns.narrow(0, tile.first_column, tile.columns.size(0)), tile.cosines.t(), tile.rows,
              tile.first_row > 0);
    }
  });
  tile_is_current_ = false;
}

// The tile's cosines are replaced by the weights.
template <typename T>
void TileEngine<T>::weigh_tile(const Tile& tile, const TileLosses<T>& losses) {
  T* cosines = tile.cosines.template data_ptr<T>();
  const int64_t rows = tile.cosines.size(0);
  const int64_t columns = tile.cosines.size(1);
  const int64_t blocks = blocks_of(rows, shape_.weigh_rows);
  in_parallel(blocks, 1, [&](int64_t begin, int64_t end) {
    T* weights = weights_[static_cast<size_t>(at::get_thread_num())].data();
    for (int64_t index = begin; index < end; ++index) {
      const int64_t row = index * shape_.weigh_rows;
      const int64_t count = std::min(shape_.weigh_rows, rows - row);
      const Block<T> block{cosines + row * columns, count, columns, tile.first_row + row, tile.first_column, index};
      std::fill_n(weights, count * columns, T{0});
      for (TileLoss<T>* loss : losses) loss->weigh(block, weights);
      std::copy_n(weights, count * columns, cosines + row * columns);
    }
  });
  in_parallel(columns, kColumnsPerTask, [&](int64_t begin, int64_t end) {
    for (TileLoss<T>* loss : losses) loss->merge_weights(tile.first_column, begin, end - begin, blocks);
  });
}

template <typename T>
void TileEngine<T>::rows_backward(int64_t first, const at::Tensor& gradient, const double* norm_gradient) const {
  T* data = gradient.template data_ptr<T>();
  in_parallel(gradient.size(0), kRowsPerTask, [&](int64_t i, int64_t end) {
    unit_rows_.backward(first + i, end - i, norm_gradient == nullptr ? nullptr : norm_gradient + i, data + i * width_);
  });
}

template <typename T>
void TileEngine<T>::columns_backward(int64_t first, const at::Tensor& gradient, const double* norm_gradient) const {
  T* data = gradient.template data_ptr<T>();
  in_parallel(gradient.size(0), kRowsPerTask, [&](int64_t i, int64_t end) {
    unit_columns_.backward(first + i, end - i, norm_gradient == nullptr ? nullptr : norm_gradient + i,
                           data + i * width_);
  });
}

template <typename T>
std::vector<double> TileEngine<T>::row_norms() const {
  std::vector<double> norms;
  for (int64_t i = 0; i < row_count_; ++i) norms.push_back(unit_rows_.norm(i));
  return norms;
}

template <typename T>
std::vector<double> TileEngine<T>::column_norms() const {
  std::vector<double> norms;
  for (int64_t i = 0; i < column_count_; ++i) norms.push_back(unit_columns_.norm(i));
  return norms;
}

template <typename T>
std::vector<double> TileEngine<T>::pair_cosines(const std::vector<std::pair<int64_t, int64_t>>& pairs) const {
  std::vector<double> cosines(pairs.size());
  in_parallel(static_cast<int64_t>(pairs.size()), kRowsPerTask, [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      cosines[i] = unit_rows_.cosine(pairs[i].first, unit_columns_, pairs[i].second);
    }
  });
  return cosines;
}

template class TileEngine<float>;
template class TileEngine<double>;

}  // namespace muster
