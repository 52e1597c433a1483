// Tile programs on the CPU, by the lines that GPUs run: the threads of a group are a loop.
#pragma once

#include <memory>
#include <vector>

#include "trainer/losses/fold_kernels.h"
#include "trainer/losses/tile_device.h"
#include "trainer/losses/weigh_kernels.h"

namespace muster::loss_test {

// What a block of threads is on a GPU.
class LoopTeam {
 public:
  template <typename X>
  struct PerThread {
    std::vector<X> values = std::vector<X>(tile_kernels::kThreads);
    X& operator[](int thread) { return values[static_cast<size_t>(thread)]; }
  };

  template <typename F>
  void each(F f) {
    for (int thread = 0; thread < tile_kernels::kThreads; ++thread) f(thread);
  }

  template <typename E, int N, typename Op>
  void reduce_rows(PerThread<tile_kernels::Array<E, N>>& x, Op op) {
    for (int first = 0; first < tile_kernels::kThreads; first += tile_kernels::kLanes) {
      for (int i = 0; i < N; ++i) {
        E folded = x[first][i];
        for (int lane = 1; lane < tile_kernels::kLanes; ++lane) folded = op(folded, x[first + lane][i]);
        for (int lane = 0; lane < tile_kernels::kLanes; ++lane) x[first + lane][i] = folded;
      }
    }
  }

  template <typename E, int N, typename Op>
  void reduce_columns(PerThread<tile_kernels::Array<E, N>>& x, Op op) {
    for (int lane = 0; lane < tile_kernels::kLanes; ++lane) {
      for (int i = 0; i < N; ++i) {
        E folded = x[lane][i];
        for (int t = lane + tile_kernels::kLanes; t < tile_kernels::kThreads; t += tile_kernels::kLanes) {
          folded = op(folded, x[t][i]);
        }
        for (int t = lane; t < tile_kernels::kThreads; t += tile_kernels::kLanes) x[t][i] = folded;
      }
    }
  }
};

class HostTileDevice final : public TileDevice {
 public:
  at::Device device() const override { return at::kCPU; }
  void fold(const FoldCall<float>& call) const override { fold_as(call); }
  void fold(const FoldCall<double>& call) const override { fold_as(call); }
  void weigh(const WeighCall<float>& call) const override { weigh_as(call); }
  void weigh(const WeighCall<double>& call) const override { weigh_as(call); }

 private:
  template <typename Call, typename Visit>
  static void groups(const Call& call, Visit visit) {
    for (int64_t row = 0; row < call.tile.row_groups(); ++row) {
      for (int64_t column = 0; column < call.tile.column_groups(); ++column) visit(row, column);
    }
  }
  template <typename Call, typename Visit>
  static void anchors(const Call& call, Visit visit) {
    for (int part = 0; part < call.parts; ++part) {
      for (int64_t row = 0; row < call.tile.rows; ++row) visit(part, true, row);
      for (int64_t column = 0; column < call.tile.columns; ++column) visit(part, false, column);
    }
  }

  template <typename T>
  static void fold_as(const FoldCall<T>& call) {
    LoopTeam team;
    groups(call, [&](int64_t row, int64_t column) { tile_kernels::fold_group<T>(team, call, row, column); });
    anchors(call, [&](int part, bool is_row, int64_t i) { tile_kernels::merge_anchor(call, part, is_row, i); });
  }
  template <typename T>
  static void weigh_as(const WeighCall<T>& call) {
    LoopTeam team;
    groups(call, [&](int64_t row, int64_t column) { tile_kernels::weigh_group<T>(team, call, row, column); });
    anchors(call, [&](int part, bool is_row, int64_t i) { tile_kernels::merge_totals(call, part, is_row, i); });
  }
};

inline LossDevice host_loss_device(bool half_products = false) {
  return {std::make_shared<HostTileDevice>(), half_products};
}

}  // namespace muster::loss_test
