// Pass 2 of tile programs (tile_program.h): the weights of one group's pairs, and its totals.
#pragma once

#include <cstdint>

#include "trainer/losses/tile_group.h"

namespace muster::tile_kernels {

template <typename T>
struct WeighAnchor {
  T max;
  T factor;
  T third;  // mean of kSoftmax, log_sum of kRivals
  T target;
  T scale;
  int32_t code;
  int64_t other;  // kEntry
};

template <typename T>
MUSTER_DEVICE WeighAnchor<T> weigh_anchor(const T* const* arrays, T scale, int64_t i, int32_t code,
                                          const int64_t* index) {
  return {value_of(arrays[0], i, T{0}),    value_of(arrays[1], i, T{0}),  value_of(arrays[2], i, T{0}),
          value_of(arrays[3], i, T{0}),    value_of(arrays[4], i, scale), code,
          index == nullptr ? -1 : index[i]};
}

// One direction's share of a weight.
template <typename T>
MUSTER_DEVICE T softmax_weight(T u, T target, const WeighAnchor<T>& anchor, bool has_mean) {
  const T e = anchor.factor * exp_of(u);
  return has_mean ? e * (u - target - anchor.third) : e;
}
template <typename T>
MUSTER_DEVICE T rivals_weight(T u, const WeighAnchor<T>& anchor) {
  const T distance = u - anchor.third;
  const T e = exp_of(distance < 0 ? distance : -distance);
  return -anchor.factor * (distance < 0 ? T{1} : e) / (1 + e);
}

// What a pair gets, and what it gives to the totals.
template <typename T>
struct Weighed {
  T weight;
  T total;
  T second_total;
  T column_total;
};

template <WeighKind kKind, typename T>
MUSTER_DEVICE Weighed<T> weigh_pair(const WeighPart<T>& part, T s, const WeighAnchor<T>& row,
                                    const WeighAnchor<T>& column, int64_t i, int64_t j) {
  const bool positive = row.code == column.code;
  switch (kKind) {
    case WeighKind::kSoftmax: {
      if (!is_member(part.members, positive)) break;
      const bool has_mean = part.row[2] != nullptr;
      const T target = positive ? row.target : part.constant[0];
      const T u = row.scale * (s - row.max);
      const T weight = softmax_weight(u, target, row, has_mean);
      if (part.column[1] == nullptr) return {weight, weight * u, 0, 0};
      const T column_u = column.scale * (s - column.max);
      const T column_weight = softmax_weight(column_u, target, column, has_mean);
      const bool apart = part.column_total != nullptr;
      return {weight + column_weight, weight * u + (apart ? T{0} : column_weight * column_u), 0,
              apart ? column_weight * column_u : T{0}};
    }
    case WeighKind::kTarget:
      if (positive) return {-(row.factor + column.factor), 0, 0, 0};
      break;
    case WeighKind::kRivals: {
      if (!positive) break;
      const T u = row.scale * (s - row.max), column_u = column.scale * (s - column.max);
      const T weight = rivals_weight(u, row), column_weight = rivals_weight(column_u, column);
      return {weight + column_weight, weight * u + column_weight * column_u, 0, 0};
    }
    case WeighKind::kSigmoid: {
      const T x = part.constant[0] * s + part.constant[1];
      const T y = positive ? -x : x;
      const T e = exp_of(y < 0 ? y : -y);
      const T sigmoid = (y < 0 ? e : T{1}) / (1 + e);
      const T gradient = (row.factor + column.factor) * (positive ? -sigmoid : sigmoid);
      return {part.constant[0] * gradient, gradient * s, gradient, 0};
    }
    case WeighKind::kStep:
      if (positive) break;
      return {(s > row.max ? row.factor : T{0}) + (s > column.max ? column.factor : T{0}), 0, 0, 0};
    case WeighKind::kEntry:
      return {(row.other == j ? row.factor : T{0}) + (column.other == i ? column.factor : T{0}), 0, 0, 0};
  }
  return {0, 0, 0, 0};
}

// Weights of a group's pairs.
template <typename T, typename Team>
using Weights = typename Team::template PerThread<Array<Rows<T>, kColumnsPerLane>>;

// Adds a part's weights and writes its totals. A function of its own for each kind, so that a thread holds only what
// the kind needs.
template <WeighKind kKind, typename T, typename Team>
MUSTER_DEVICE void weigh_part(Group<T, Team>& group, const WeighPart<T>& part, const GroupResults<T>& to,
                              Weights<T, Team>& weights) {
  const DeviceTile<T>& tile = group.tile;
  typename Team::template PerThread<Rows<T>> total, second;
  typename Team::template PerThread<Columns<T>> column_total;
  group.team.each([&](int thread) {
    total[thread].fill(0);
    second[thread].fill(0);
    column_total[thread].fill(0);
    group.pairs(
        thread,
        [&](int64_t i) { return weigh_anchor(part.row, part.constant[1], i, part.row_codes[i], part.row_index); },
        [&](int64_t j) {
          return weigh_anchor(part.column, part.constant[1], j, part.column_codes[j], part.column_index);
        },
        [&](int r, int k, T s, const auto& row, const auto& column) {
          const Weighed<T> pair =
              weigh_pair<kKind>(part, s, row, column, tile.offset + tile.first_row + group.row(thread, r),
                                tile.first_column + group.column(thread, k));
          weights[thread][k][r] += pair.weight;
          total[thread][r] += pair.total;
          second[thread][r] += pair.second_total;
          column_total[thread][k] += pair.column_total;
        });
  });
  if (part.row_total[0] != nullptr) {
    group.team.reduce_rows(total, Sum());
    group.write_rows([&](int thread, int r, int64_t place) { to.rows[place] = total[thread][r]; });
  }
  if (kKind == WeighKind::kSigmoid && part.row_total[1] != nullptr) {
    group.team.reduce_rows(second, Sum());
    group.write_rows([&](int thread, int r, int64_t place) { to.rows[group.row_slot(1) + place] = second[thread][r]; });
  }
  if (kKind == WeighKind::kSoftmax && part.column_total != nullptr) {
    group.team.reduce_columns(column_total, Sum());
    group.write_columns([&](int thread, int k, int64_t place) { to.columns[place] = column_total[thread][k]; });
  }
}

// Pass 2 of one group.
template <typename T, typename Team>
MUSTER_DEVICE void weigh_group(Team& team, const WeighCall<T>& call, int64_t row_group, int64_t column_group) {
  const DeviceTile<T>& tile = call.tile;
  Group<T, Team> group{team, tile, row_group, column_group, {}};
  group.load();
  Weights<T, Team> weights;
  team.each([&](int thread) {
    MUSTER_UNROLL
    for (int k = 0; k < kColumnsPerLane; ++k) weights[thread][k].fill(0);
  });
  for (int p = 0; p < call.parts; ++p) {
    const WeighPart<T>& part = call.part[p];
    const GroupResults<T>& to = call.groups[p];
    switch (part.kind) {
      case WeighKind::kSoftmax:
        weigh_part<WeighKind::kSoftmax>(group, part, to, weights);
        break;
      case WeighKind::kTarget:
        weigh_part<WeighKind::kTarget>(group, part, to, weights);
        break;
      case WeighKind::kRivals:
        weigh_part<WeighKind::kRivals>(group, part, to, weights);
        break;
      case WeighKind::kSigmoid:
        weigh_part<WeighKind::kSigmoid>(group, part, to, weights);
        break;
      case WeighKind::kStep:
        weigh_part<WeighKind::kStep>(group, part, to, weights);
        break;
      case WeighKind::kEntry:
        weigh_part<WeighKind::kEntry>(group, part, to, weights);
        break;
    }
  }
  team.each([&](int thread) {
    MUSTER_UNROLL
    for (int r = 0; r < kRowsPerWarp; ++r) {
      MUSTER_UNROLL
      for (int k = 0; k < kColumnsPerLane; ++k) {
        const int64_t i = group.row(thread, r), j = group.column(thread, k);
        if (i >= tile.rows || j >= tile.columns) continue;
        if (call.halves != nullptr) {
          call.halves[i * tile.columns + j] =
              static_cast<c10::Half>(static_cast<float>(weights[thread][k][r] * call.half_scale));
        } else {
          call.weights[i * tile.columns + j] = weights[thread][k][r];
        }
      }
    }
  });
}

// The totals of part p that one anchor has.
template <typename T>
MUSTER_DEVICE void merge_totals(const WeighCall<T>& call, int p, bool is_row, int64_t anchor) {
  const WeighPart<T>& part = call.part[p];
  const Partials<T> from = partials_of(call.tile, call.groups[p], is_row, anchor);
  const int64_t i = anchor + (is_row ? call.tile.first_row : call.tile.first_column);
  if (!is_row) return merge_sum(from, 0, part.column_total == nullptr ? nullptr : part.column_total + i);
  for (int slot = 0; slot < 2; ++slot) {
    merge_sum(from, slot, part.row_total[slot] == nullptr ? nullptr : part.row_total[slot] + i);
  }
}

}  // namespace muster::tile_kernels
