// Where tile programs run beside the CPU. No torch here: pointers to the device's memory in, results there.
#pragma once

#include <c10/core/Device.h>
#include <c10/util/Half.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "trainer/losses/device_code.h"
#include "trainer/losses/tile_loss.h"

namespace muster {

// A tile is cut into groups of pairs, each folded as one; their statistics are added up in a fixed order.
constexpr int64_t kGroupRows = 64;
constexpr int64_t kGroupColumns = 128;

// Parts that one launch takes.
constexpr int kMostParts = 24;

// One tile of cosines [rows, columns], contiguous: that of local rows from first_row, columns from first_column.
template <typename T>
struct DeviceTile {
  const T* cosines = nullptr;
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t first_row = 0;
  int64_t first_column = 0;
  int64_t offset = 0;  // local row i is row offset + i of all ranks'

  MUSTER_HOST_DEVICE int64_t row_groups() const { return (rows + kGroupRows - 1) / kGroupRows; }
  MUSTER_HOST_DEVICE int64_t column_groups() const { return (columns + kGroupColumns - 1) / kGroupColumns; }
};

// Room for what the groups find, three numbers an anchor of each part: [3][column_groups][rows] of rows and
// [3][row_groups][columns] of columns, and indices [column_groups][rows], [row_groups][columns].
template <typename T>
struct GroupResults {
  T* rows = nullptr;
  T* columns = nullptr;
  int32_t* row_index = nullptr;
  int32_t* column_index = nullptr;
};

template <typename T>
struct FoldCall {
  DeviceTile<T> tile;
  int parts = 0;
  FoldPart<T> part[kMostParts];
  GroupResults<T> groups[kMostParts];
};

// Weights go to `weights` (the cosines' own memory may be it), or, if `halves` is given, times half_scale there.
template <typename T>
struct WeighCall {
  DeviceTile<T> tile;
  T* weights = nullptr;
  c10::Half* halves = nullptr;
  T half_scale = 1;
  int parts = 0;
  WeighPart<T> part[kMostParts];
  GroupResults<T> groups[kMostParts];
};

class TileDevice {
 public:
  virtual ~TileDevice() = default;
  virtual at::Device device() const = 0;

  // Takes the tile into the results of each part. Runs in the order of the device's current stream.
  virtual void fold(const FoldCall<float>& call) const = 0;
  virtual void fold(const FoldCall<double>& call) const = 0;

  // The weights of all parts together, and each part's totals.
  virtual void weigh(const WeighCall<float>& call) const = 0;
  virtual void weigh(const WeighCall<double>& call) const = 0;
};

// Of a GPU; std::logic_error in a build without CUDA.
std::unique_ptr<TileDevice> make_tile_device(at::Device device);

// A tile and its weights are 48 MiB with half products, 32 MiB with others.
inline constexpr TileShape kDeviceTile{2048, 4096};

// Where an objective computes: on `tiles`, or on the CPU where there is none.
struct LossDevice {
  std::shared_ptr<const TileDevice> tiles;
  bool half_products = false;  // of float32 features on a device (device_engine.h)

  at::Device device() const { return tiles == nullptr ? at::Device(at::kCPU) : tiles->device(); }

  TileShape shape() const { return tiles == nullptr ? TileShape{} : kDeviceTile; }
};

inline LossDevice loss_device(at::Device device, bool half_products) {
  if (device.is_cpu()) return {};
  return {make_tile_device(device), half_products};
}

}  // namespace muster
