#include "trainer/losses/device_engine.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/tensor.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "launch/error.h"
#include "trainer/losses/pair_loss.h"
#include "trainer/losses/program_memory.h"
#include "trainer/losses/unit_rows.h"

namespace muster {
namespace {

constexpr int64_t kRowsAtOnce = 4096;   // of gradients and pairs, whose temporaries are that long
constexpr double kLargestHalf = 32768;  // room for rounding below float16's 65504

template <typename T>
at::ScalarType dtype_of() {
  return sizeof(T) == sizeof(double) ? at::kDouble : at::kFloat;
}

template <typename T>
double largest_of(const T* array, int64_t count) {
  double most = 0;
  for (int64_t i = 0; array != nullptr && i < count; ++i) {
    const double size = std::fabs(static_cast<double>(array[i]));
    most = size > most ? size : most;
  }
  return most;
}

// No weight of the part is larger. `e` (u - t - mean) of a softmax, e = exp(u), u <= 0: e |u| <= 1/2, e <= 1.
template <typename T>
double largest_weight(const WeighPart<T>& part, int64_t rows, int64_t columns) {
  const auto direction = [&](const T* const* arrays, int64_t count) {
    double bound = largest_of(arrays[1], count);
    if (part.kind == WeighKind::kSoftmax && part.row[2] != nullptr) {
      bound *= 0.5 + largest_of(part.row[3], rows) + std::fabs(static_cast<double>(part.constant[0])) +
               largest_of(arrays[2], count);
    }
    return bound;
  };
  const double bound = direction(part.row, rows) + direction(part.column, columns);
  return part.kind == WeighKind::kSigmoid ? bound * std::fabs(static_cast<double>(part.constant[0])) : bound;
}

// From the host's addresses to the device's.
template <typename T>
void move(FoldPart<T>& part, const ProgramMemory& memory) {
  part.row_codes = memory.on_device(part.row_codes);
  part.column_codes = memory.on_device(part.column_codes);
  for (const T*& array : part.row) array = memory.on_device(array);
  for (const T*& array : part.column) array = memory.on_device(array);
  for (double*& array : part.row_result) array = memory.on_device(array);
  for (double*& array : part.column_result) array = memory.on_device(array);
  part.row_index = memory.on_device(part.row_index);
  part.column_index = memory.on_device(part.column_index);
}

template <typename T>
void move(WeighPart<T>& part, const ProgramMemory& memory) {
  part.row_codes = memory.on_device(part.row_codes);
  part.column_codes = memory.on_device(part.column_codes);
  for (const T*& array : part.row) array = memory.on_device(array);
  for (const T*& array : part.column) array = memory.on_device(array);
  part.row_index = memory.on_device(part.row_index);
  part.column_index = memory.on_device(part.column_index);
  for (double*& array : part.row_total) array = memory.on_device(array);
  part.column_total = memory.on_device(part.column_total);
}

}  // namespace

template <typename T>
DeviceEngine<T>::Unit::Unit(const at::Tensor& raw, bool half) : raw_(raw), half_(half) {
  const at::Tensor norm = at::linalg_vector_norm(raw, 2, at::IntArrayRef{1}, /*keepdim=*/true, at::kDouble);
  norm_ = norm.masked_fill(norm <= kNormEpsilon, 0.0);
  const at::Tensor inverse = norm_.reciprocal().masked_fill(norm_ == 0.0, 0.0);
  inverse_ = inverse.masked_fill(norm_.isinf(), std::nan("")).to(dtype_of<T>());
}

template <typename T>
void DeviceEngine<T>::Unit::load(int64_t first, at::Tensor out) const {
  at::mul_out(out, raw_.narrow(0, first, out.size(0)), inverse_.narrow(0, first, out.size(0)));
}

template <typename T>
at::Tensor DeviceEngine<T>::Unit::select(const at::Tensor& indices) const {
  const at::Tensor unit = raw_.index_select(0, indices) * inverse_.index_select(0, indices);
  return half_ ? unit.to(at::kHalf).to(unit.scalar_type()) : unit;
}

template <typename T>
void DeviceEngine<T>::Unit::backward(int64_t first, const at::Tensor& gradient, const double* norm_gradient) const {
  for (int64_t begin = 0; begin < gradient.size(0); begin += kRowsAtOnce) {
    const int64_t count = std::min(kRowsAtOnce, gradient.size(0) - begin);
    const at::Tensor part = gradient.narrow(0, begin, count);
    const at::Tensor inverse = inverse_.narrow(0, first + begin, count);
    const at::Tensor unit = raw_.narrow(0, first + begin, count) * inverse;
    at::Tensor along = (part * unit).sum(1, /*keepdim=*/true, at::kDouble) * inverse;
    if (norm_gradient != nullptr) {
      const at::Tensor of_length = at::from_blob(const_cast<double*>(norm_gradient) + begin, {count, 1}, at::kDouble);
      along = along - of_length.to(along.device());
    }
    part.mul_(inverse).sub_(unit.mul_(along.to(unit.scalar_type())));
  }
}

template <typename T>
std::vector<double> DeviceEngine<T>::Unit::norms() const {
  const at::Tensor norms = norm_.cpu();
  return {norms.const_data_ptr<double>(), norms.const_data_ptr<double>() + norms.numel()};
}

template <typename T>
bool DeviceEngine<T>::Unit::all_finite() const {
  return inverse_.isfinite().all().item<bool>();
}

template <typename T>
DeviceEngine<T>::DeviceEngine(const at::Tensor& rows, const at::Tensor& columns, int64_t offset, const TileShape& shape,
                              const TileDevice& device, bool half)
    : device_(device), shape_(shape), offset_(offset), half_(half), row_unit_(rows, half), column_unit_(columns, half) {
  if (half && dtype_of<T>() != at::kFloat) throw std::logic_error("DeviceEngine: half products of float64 rows");
  DeviceTile<T> most;
  most.rows = std::min(shape.rows, rows.size(0));
  most.columns = std::min(shape.columns, columns.size(0));
  const auto operands = half ? rows.options().dtype(at::kHalf) : rows.options();
  row_buffer_ = at::empty({most.rows, rows.size(1)}, operands);
  column_buffer_ = at::empty({most.columns, rows.size(1)}, operands);
  tile_buffer_ = at::empty({most.rows * most.columns}, rows.options());
  if (half) half_weights_ = at::empty({most.rows * most.columns}, operands);
  numbers_of_groups_ = most.column_groups() * most.rows + most.row_groups() * most.columns;
}

template <typename T>
void DeviceEngine<T>::make_groups(size_t parts) {
  if (parts > kMostParts) {
    throw ConfigError(
        fmt::format("objective: its terms on one pair of features are {} parts, and a GPU takes {} at once; leave out "
                    "some, or set train.device to CPU",
                    parts, kMostParts));
  }
  const auto count = static_cast<int64_t>(parts);
  group_numbers_ = at::empty({count, 3 * numbers_of_groups_}, tile_buffer_.options());
  group_indices_ = at::empty({count, numbers_of_groups_}, tile_buffer_.options().dtype(at::kInt));
}

template <typename T>
template <typename Visit>
void DeviceEngine<T>::for_each_tile(const Visit& visit) {
  const bool rows_fit = row_unit_.size() <= shape_.rows;
  for (int64_t column = 0; column < column_unit_.size(); column += shape_.columns) {
    const int64_t columns = std::min(shape_.columns, column_unit_.size() - column);
    const at::Tensor unit_columns = column_buffer_.narrow(0, 0, columns);
    column_unit_.load(column, unit_columns);
    for (int64_t row = 0; row < row_unit_.size(); row += shape_.rows) {
      const int64_t rows = std::min(shape_.rows, row_unit_.size() - row);
      const at::Tensor unit_rows = row_buffer_.narrow(0, 0, rows);
      if (!rows_fit || column == 0) row_unit_.load(row, unit_rows);
      const at::Tensor cosines = tile_buffer_.narrow(0, 0, rows * columns).view({rows, columns});
      if (!tile_is_current_) product(cosines, unit_rows, unit_columns.t(), false);
      visit(Tile{{cosines.template const_data_ptr<T>(), rows, columns, row, column, offset_},
                 unit_rows,
                 unit_columns,
                 cosines});
    }
  }
}

// to (+)= a b. With half products a and b are float16 and `to` float32, which the CPU has no product for.
template <typename T>
void DeviceEngine<T>::product(const at::Tensor& to, const at::Tensor& a, const at::Tensor& b, bool accumulate) const {
  at::Tensor out = to;
  if (half_ && device_.device().is_cuda()) {
    accumulate ? at::addmm_out(out, out, a, b, at::kFloat) : at::mm_out(out, a, b, at::kFloat);
  } else if (accumulate) {
    at::addmm_out(out, out, a.to(out.scalar_type()), b.to(out.scalar_type()));
  } else {
    at::mm_out(out, a.to(out.scalar_type()), b.to(out.scalar_type()));
  }
}

template <typename T>
template <typename Call>
void DeviceEngine<T>::place_groups(Call& call, int count) const {
  const int64_t of_rows = call.tile.column_groups() * call.tile.rows;
  call.parts = count;
  for (int p = 0; p < count; ++p) {
    T* numbers = group_numbers_[p].template data_ptr<T>();
    int32_t* indices = group_indices_[p].template data_ptr<int32_t>();
    call.groups[p] = {numbers, numbers + 3 * of_rows, indices, indices + of_rows};
  }
}

template <typename T>
void DeviceEngine<T>::fold(const TileLosses<T>& losses) {
  ProgramMemory memory(device_.device());
  std::vector<FoldPart<T>> parts;
  for (TileLoss<T>* loss : losses) {
    for (FoldPart<T> part : loss->fold_program()) {
      memory.read(part.row_codes, row_unit_.size());
      memory.read(part.column_codes, column_unit_.size());
      for (const T*& array : part.row) memory.read(array, row_unit_.size());
      for (const T*& array : part.column) memory.read(array, column_unit_.size());
      const bool has_maximum = part.kind == FoldKind::kSoftmax || part.kind == FoldKind::kHardest;
      for (int slot = 0; slot < 3; ++slot) {
        const double start = slot == 0 && has_maximum ? kNoCosine : 0;
        memory.write(part.row_result[slot], row_unit_.size(), start);
        memory.write(part.column_result[slot], column_unit_.size(), start);
      }
      memory.write(part.row_index, row_unit_.size(), kNoIndex);
      memory.write(part.column_index, column_unit_.size(), kNoIndex);
      parts.push_back(part);
    }
  }
  memory.send();
  for (FoldPart<T>& part : parts) move(part, memory);
  make_groups(parts.size());
  for_each_tile([&](const Tile& tile) {
    FoldCall<T> call;
    call.tile = tile.tile;
    std::copy(parts.begin(), parts.end(), call.part);
    place_groups(call, static_cast<int>(parts.size()));
    device_.fold(call);
  });
  memory.fetch();
  tile_is_current_ = row_unit_.size() <= shape_.rows && column_unit_.size() <= shape_.columns;
}

template <typename T>
void DeviceEngine<T>::weigh(const TileLosses<T>& losses, const at::Tensor& d_rows, const at::Tensor& d_columns) {
  if (row_unit_.size() == 0 && d_columns.defined()) d_columns.zero_();
  if (column_unit_.size() == 0 && d_rows.defined()) d_rows.zero_();
  ProgramMemory memory(device_.device());
  std::vector<WeighPart<T>> parts;
  double bound = 0;
  for (TileLoss<T>* loss : losses) {
    for (const WeighPart<T>& part : loss->weigh_program()) {
      memory.read(part.row_codes, row_unit_.size());
      memory.read(part.column_codes, column_unit_.size());
      for (const T* array : part.row) memory.read(array, row_unit_.size());
      for (const T* array : part.column) memory.read(array, column_unit_.size());
      memory.read(part.row_index, row_unit_.size());
      memory.read(part.column_index, column_unit_.size());
      for (double* total : part.row_total) memory.write(total, row_unit_.size(), 0.0, /*add=*/true);
      memory.write(part.column_total, column_unit_.size(), 0.0, /*add=*/true);
      bound += largest_weight(part, row_unit_.size(), column_unit_.size());
      parts.push_back(part);
    }
  }
  memory.send();
  for (WeighPart<T>& part : parts) move(part, memory);
  make_groups(parts.size());
  const double half_scale =
      bound > 0 && std::isfinite(bound) ? std::exp2(std::floor(std::log2(kLargestHalf / bound))) : 1;
  for_each_tile([&](const Tile& tile) {
    WeighCall<T> call;
    call.tile = tile.tile;
    at::Tensor weights = tile.cosines;
    if (half_) {
      weights = half_weights_.narrow(0, 0, tile.cosines.numel()).view(tile.cosines.sizes());
      call.halves = weights.data_ptr<c10::Half>();
      call.half_scale = static_cast<T>(half_scale);
    } else {
      call.weights = weights.template data_ptr<T>();
    }
    std::copy(parts.begin(), parts.end(), call.part);
    place_groups(call, static_cast<int>(parts.size()));
    device_.weigh(call);
    if (d_rows.defined()) {
      product(d_rows.narrow(0, tile.tile.first_row, tile.tile.rows), weights, tile.columns, tile.tile.first_column > 0);
    }
    if (d_columns.defined()) {
      product(d_columns.narrow(0, tile.tile.first_column, tile.tile.columns), weights.t(), tile.rows,
              tile.tile.first_row > 0);
    }
  });
  if (half_ && d_rows.defined()) d_rows.div_(half_scale);
  if (half_ && d_columns.defined()) d_columns.div_(half_scale);
  memory.fetch();
  tile_is_current_ = false;
}

template <typename T>
void DeviceEngine<T>::rows_backward(int64_t first, const at::Tensor& gradient, const double* norm_gradient) const {
  row_unit_.backward(first, gradient, norm_gradient);
}

template <typename T>
void DeviceEngine<T>::columns_backward(int64_t first, const at::Tensor& gradient, const double* norm_gradient) const {
  column_unit_.backward(first, gradient, norm_gradient);
}

template <typename T>
std::vector<double> DeviceEngine<T>::pair_cosines(const std::vector<std::pair<int64_t, int64_t>>& pairs) const {
  std::vector<double> cosines;
  for (size_t first = 0; first < pairs.size(); first += kRowsAtOnce) {
    const size_t count = std::min<size_t>(kRowsAtOnce, pairs.size() - first);
    std::vector<int64_t> rows, columns;
    for (size_t i = first; i < first + count; ++i) {
      rows.push_back(pairs[i].first);
      columns.push_back(pairs[i].second);
    }
    const at::Device device = device_.device();
    const at::Tensor products =
        row_unit_.select(at::tensor(rows).to(device)) * column_unit_.select(at::tensor(columns).to(device));
    const at::Tensor part = products.sum(1, /*keepdim=*/false, at::kDouble).cpu();
    cosines.insert(cosines.end(), part.const_data_ptr<double>(), part.const_data_ptr<double>() + count);
  }
  return cosines;
}

template class DeviceEngine<float>;
template class DeviceEngine<double>;

}  // namespace muster
