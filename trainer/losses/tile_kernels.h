// The interpreter of tile programs: what one group of a device does with its pairs, and how groups' results are added
// up. Compiled for GPUs by tile_device.cu and for the CPU by the tests, which so prove the same lines; the two differ
// in their Team alone:
//
//   PerThread<X>            an X of each of the group's kThreads threads, x[thread]
//   each(f)                 f(thread) for each thread
//   reduce_rows(x, op)      x: PerThread<Array<E, kRowsPerWarp>>; every thread of a warp gets the fold over the warp
//   reduce_columns(x, op)   x: PerThread<Array<E, kColumnsPerLane>>; every warp gets the fold over warps, by lane
//
// Thread t is lane t % 32 of warp t / 32, and holds the pairs of its warp's 8 rows with the 4 columns lane + 32 k. Sums
// of a group are in T, sums over groups in double.
#pragma once

#include <cstdint>

#include "trainer/losses/device_code.h"
#include "trainer/losses/pair_loss.h"
#include "trainer/losses/tile_device.h"
#if !defined(__CUDACC__)
#include "trainer/losses/vector_math.h"
#endif

namespace muster::tile_kernels {

constexpr int kLanes = 32;
constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kLanes;
constexpr int kRowsPerWarp = static_cast<int>(kGroupRows) / kWarps;
constexpr int kColumnsPerLane = static_cast<int>(kGroupColumns) / kLanes;

#if defined(__CUDACC__)
MUSTER_DEVICE inline float exp_of(float x) {
  return expf(x);
}
MUSTER_DEVICE inline double exp_of(double x) {
  return exp(x);
}
MUSTER_DEVICE inline float log1p_of(float x) {
  return log1pf(x);
}
MUSTER_DEVICE inline double log1p_of(double x) {
  return log1p(x);
}
#else
template <typename T>
T exp_of(T x) {
  return fast_exp(x);
}
template <typename T>
T log1p_of(T x) {
  return fast_log1p(x);
}
#endif

template <typename E, int N>
struct Array {
  E v[N];
  MUSTER_DEVICE E& operator[](int i) { return v[i]; }
  MUSTER_DEVICE void fill(E value) {
    MUSTER_UNROLL
    for (int i = 0; i < N; ++i) v[i] = value;
  }
};
template <typename E>
using Rows = Array<E, kRowsPerWarp>;
template <typename E>
using Columns = Array<E, kColumnsPerLane>;

struct Sum {
  template <typename E>
  MUSTER_DEVICE E operator()(E a, E b) const {
    return a + b;
  }
};
struct Max {
  template <typename E>
  MUSTER_DEVICE E operator()(E a, E b) const {
    return b > a ? b : a;
  }
};

// The largest cosine, and the first of those that have it.
template <typename T>
struct Best {
  T cosine;
  int32_t index;
};
struct Better {
  template <typename T>
  MUSTER_DEVICE Best<T> operator()(Best<T> a, Best<T> b) const {
    return b.cosine > a.cosine || (b.cosine == a.cosine && b.index < a.index) ? b : a;
  }
};

MUSTER_DEVICE inline bool is_member(Members members, bool positive) {
  return members == Members::kAll || positive == (members == Members::kPositives);
}

template <typename T>
MUSTER_DEVICE T value_of(const T* array, int64_t i, T otherwise) {
  return array == nullptr ? otherwise : array[i];
}

// The pairs of one group.
template <typename T, typename Team>
struct Group {
  Team& team;
  const DeviceTile<T>& tile;
  int64_t row_group;
  int64_t column_group;
  typename Team::template PerThread<Array<Rows<T>, kColumnsPerLane>> cosines;

  MUSTER_DEVICE int64_t row(int thread, int r) const {
    return row_group * kGroupRows + thread / kLanes * kRowsPerWarp + r;
  }
  MUSTER_DEVICE int64_t column(int thread, int k) const {
    return column_group * kGroupColumns + thread % kLanes + k * kLanes;
  }

  MUSTER_DEVICE void load() {
    team.each([&](int thread) {
      MUSTER_UNROLL
      for (int r = 0; r < kRowsPerWarp; ++r) {
        MUSTER_UNROLL
        for (int k = 0; k < kColumnsPerLane; ++k) {
          const int64_t i = row(thread, r), j = column(thread, k);
          cosines[thread][k][r] = i < tile.rows && j < tile.columns ? tile.cosines[i * tile.columns + j] : T{0};
        }
      }
    });
  }

  // visit(r, k, s, row_anchor(local row), column_anchor(global column)) for the thread's pairs.
  template <typename RowAnchor, typename ColumnAnchor, typename Visit>
  MUSTER_DEVICE void pairs(int thread, RowAnchor row_anchor, ColumnAnchor column_anchor, Visit visit) {
    decltype(column_anchor(int64_t{0})) columns[kColumnsPerLane] = {};
    MUSTER_UNROLL
    for (int k = 0; k < kColumnsPerLane; ++k) {
      if (column(thread, k) < tile.columns) columns[k] = column_anchor(tile.first_column + column(thread, k));
    }
    MUSTER_UNROLL
    for (int r = 0; r < kRowsPerWarp; ++r) {
      if (row(thread, r) >= tile.rows) continue;
      const auto of_row = row_anchor(tile.first_row + row(thread, r));
      MUSTER_UNROLL
      for (int k = 0; k < kColumnsPerLane; ++k) {
        if (column(thread, k) < tile.columns) visit(r, k, cosines[thread][k][r], of_row, columns[k]);
      }
    }
  }

  // write(r, place in [column_groups][rows]) once for each of the group's rows, by a thread that has its fold.
  template <typename Write>
  MUSTER_DEVICE void write_rows(Write write) {
    team.each([&](int thread) {
      MUSTER_UNROLL
      for (int r = 0; r < kRowsPerWarp; ++r) {
        if (thread % kLanes == r && row(thread, r) < tile.rows) {
          write(thread, r, column_group * tile.rows + row(thread, r));
        }
      }
    });
  }
  template <typename Write>
  MUSTER_DEVICE void write_columns(Write write) {
    team.each([&](int thread) {
      MUSTER_UNROLL
      for (int k = 0; k < kColumnsPerLane; ++k) {
        if (thread < kLanes && column(thread, k) < tile.columns) {
          write(thread, k, row_group * tile.columns + column(thread, k));
        }
      }
    });
  }

  MUSTER_DEVICE int64_t row_slot(int slot) const { return slot * tile.column_groups() * tile.rows; }
  MUSTER_DEVICE int64_t column_slot(int slot) const { return slot * tile.row_groups() * tile.columns; }
};

template <typename T>
struct SoftmaxAnchor {
  T scale;
  T target;
  int32_t code;
};

template <typename T, typename Team>
MUSTER_DEVICE void fold_softmax(Group<T, Team>& group, const FoldPart<T>& part, const GroupResults<T>& to) {
  using Values = typename Team::template PerThread<Rows<T>>;
  using ColumnValues = typename Team::template PerThread<Columns<T>>;
  const auto row_anchor = [&](int64_t i) {
    return SoftmaxAnchor<T>{value_of(part.row[0], i, part.constant[1]), value_of(part.row[1], i, T{0}),
                            part.row_codes[i]};
  };
  const auto column_anchor = [&](int64_t j) {
    return SoftmaxAnchor<T>{value_of(part.column[0], j, part.constant[1]), T{0}, part.column_codes[j]};
  };
  Values row_max;
  ColumnValues column_max;
  group.team.each([&](int thread) {
    row_max[thread].fill(static_cast<T>(kNoCosine));
    column_max[thread].fill(static_cast<T>(kNoCosine));
    group.pairs(thread, row_anchor, column_anchor, [&](int r, int k, T s, const auto& row, const auto& column) {
      if (!is_member(part.members, row.code == column.code)) return;
      row_max[thread][r] = Max()(row_max[thread][r], s);
      column_max[thread][k] = Max()(column_max[thread][k], s);
    });
  });
  const bool columns = part.column_result[0] != nullptr;
  group.team.reduce_rows(row_max, Max());
  if (columns) group.team.reduce_columns(column_max, Max());

  Values row_sum, row_moment;
  ColumnValues column_sum, column_moment;
  group.team.each([&](int thread) {
    row_sum[thread].fill(0);
    row_moment[thread].fill(0);
    column_sum[thread].fill(0);
    column_moment[thread].fill(0);
    group.pairs(thread, row_anchor, column_anchor, [&](int r, int k, T s, const auto& row, const auto& column) {
      const bool positive = row.code == column.code;
      if (!is_member(part.members, positive)) return;
      const T target = positive ? row.target : part.constant[0];
      const T u = row.scale * (s - row_max[thread][r]);
      const T e = exp_of(u);
      row_sum[thread][r] += e;
      row_moment[thread][r] += e * (u - target);
      if (!columns) return;
      const T column_u = column.scale * (s - column_max[thread][k]);
      const T column_e = exp_of(column_u);
      column_sum[thread][k] += column_e;
      column_moment[thread][k] += column_e * (column_u - target);
    });
  });
  group.team.reduce_rows(row_sum, Sum());
  if (columns) group.team.reduce_columns(column_sum, Sum());
  if (part.moments) {
    group.team.reduce_rows(row_moment, Sum());
    if (columns) group.team.reduce_columns(column_moment, Sum());
  }
  group.write_rows([&](int thread, int r, int64_t place) {
    to.rows[group.row_slot(0) + place] = row_max[thread][r];
    to.rows[group.row_slot(1) + place] = row_sum[thread][r];
    if (part.moments) to.rows[group.row_slot(2) + place] = row_moment[thread][r];
  });
  if (!columns) return;
  group.write_columns([&](int thread, int k, int64_t place) {
    to.columns[group.column_slot(0) + place] = column_max[thread][k];
    to.columns[group.column_slot(1) + place] = column_sum[thread][k];
    if (part.moments) to.columns[group.column_slot(2) + place] = column_moment[thread][k];
  });
}

template <typename T>
struct NumberAnchor {
  T number;
  int32_t code;
};

// kPositiveSum and kSoftplus: one sum a row.
template <typename T, typename Team>
MUSTER_DEVICE void fold_row_sum(Group<T, Team>& group, const FoldPart<T>& part, const GroupResults<T>& to) {
  typename Team::template PerThread<Rows<T>> sum;
  group.team.each([&](int thread) {
    sum[thread].fill(0);
    group.pairs(
        thread,
        [&](int64_t i) {
          return NumberAnchor<T>{part.row[0][i], part.row_codes[i]};
        },
        [&](int64_t j) {
          return NumberAnchor<T>{part.column[0][j], part.column_codes[j]};
        },
        [&](int r, int, T s, const auto& row, const auto& column) {
          const bool positive = row.code == column.code;
          const T factor = row.number + column.number;
          if (part.kind == FoldKind::kPositiveSum) {
            if (positive) sum[thread][r] += s * factor;
          } else {
            const T x = part.constant[0] * s + part.constant[1];
            const T y = positive ? -x : x;
            sum[thread][r] += factor * ((y < 0 ? T{0} : y) + log1p_of(exp_of(y < 0 ? y : -y)));
          }
        });
  });
  group.team.reduce_rows(sum, Sum());
  group.write_rows([&](int thread, int r, int64_t place) { to.rows[place] = sum[thread][r]; });
}

template <typename T, typename Team>
MUSTER_DEVICE void fold_hardest(Group<T, Team>& group, const FoldPart<T>& part, const GroupResults<T>& to) {
  const DeviceTile<T>& tile = group.tile;
  typename Team::template PerThread<Rows<Best<T>>> row_best;
  typename Team::template PerThread<Columns<Best<T>>> column_best;
  const Best<T> none{static_cast<T>(kNoCosine), INT32_MAX};
  group.team.each([&](int thread) {
    row_best[thread].fill(none);
    column_best[thread].fill(none);
    group.pairs(
        thread, [&](int64_t i) { return part.row_codes[i]; }, [&](int64_t j) { return part.column_codes[j]; },
        [&](int r, int k, T s, int32_t row, int32_t column) {
          if (row == column) return;
          const auto i = static_cast<int32_t>(tile.offset + tile.first_row + group.row(thread, r));
          const auto j = static_cast<int32_t>(tile.first_column + group.column(thread, k));
          row_best[thread][r] = Better()(row_best[thread][r], Best<T>{s, j});
          column_best[thread][k] = Better()(column_best[thread][k], Best<T>{s, i});
        });
  });
  group.team.reduce_rows(row_best, Better());
  group.team.reduce_columns(column_best, Better());
  group.write_rows([&](int thread, int r, int64_t place) {
    to.rows[place] = row_best[thread][r].cosine;
    to.row_index[place] = row_best[thread][r].index;
  });
  group.write_columns([&](int thread, int k, int64_t place) {
    to.columns[place] = column_best[thread][k].cosine;
    to.column_index[place] = column_best[thread][k].index;
  });
}

template <typename T, typename Team>
MUSTER_DEVICE void fold_hinges(Group<T, Team>& group, const FoldPart<T>& part, const GroupResults<T>& to) {
  typename Team::template PerThread<Rows<T>> row_sum, row_count;
  typename Team::template PerThread<Columns<T>> column_sum, column_count;
  group.team.each([&](int thread) {
    row_sum[thread].fill(0);
    row_count[thread].fill(0);
    column_sum[thread].fill(0);
    column_count[thread].fill(0);
    group.pairs(
        thread,
        [&](int64_t i) {
          return NumberAnchor<T>{part.row[0][i], part.row_codes[i]};
        },
        [&](int64_t j) {
          return NumberAnchor<T>{part.column[0][j], part.column_codes[j]};
        },
        [&](int r, int k, T s, const auto& row, const auto& column) {
          if (row.code == column.code) return;
          const T h = s - row.number, column_h = s - column.number;
          row_sum[thread][r] += h > 0 ? h : T{0};
          row_count[thread][r] += h > 0 ? T{1} : T{0};
          column_sum[thread][k] += column_h > 0 ? column_h : T{0};
          column_count[thread][k] += column_h > 0 ? T{1} : T{0};
        });
  });
  group.team.reduce_rows(row_sum, Sum());
  group.team.reduce_rows(row_count, Sum());
  group.team.reduce_columns(column_sum, Sum());
  group.team.reduce_columns(column_count, Sum());
  group.write_rows([&](int thread, int r, int64_t place) {
    to.rows[group.row_slot(0) + place] = row_sum[thread][r];
    to.rows[group.row_slot(1) + place] = row_count[thread][r];
  });
  group.write_columns([&](int thread, int k, int64_t place) {
    to.columns[group.column_slot(0) + place] = column_sum[thread][k];
    to.columns[group.column_slot(1) + place] = column_count[thread][k];
  });
}

// Pass 1 of one group.
template <typename T, typename Team>
MUSTER_DEVICE void fold_group(Team& team, const FoldCall<T>& call, int64_t row_group, int64_t column_group) {
  Group<T, Team> group{team, call.tile, row_group, column_group, {}};
  group.load();
  for (int p = 0; p < call.parts; ++p) {
    const FoldPart<T>& part = call.part[p];
    switch (part.kind) {
      case FoldKind::kSoftmax:
        fold_softmax(group, part, call.groups[p]);
        break;
      case FoldKind::kPositiveSum:
      case FoldKind::kSoftplus:
        fold_row_sum(group, part, call.groups[p]);
        break;
      case FoldKind::kHardest:
        fold_hardest(group, part, call.groups[p]);
        break;
      case FoldKind::kHinges:
        fold_hinges(group, part, call.groups[p]);
        break;
    }
  }
}

// One anchor's numbers of all groups, in order: numbers[slot * slot_size + group * stride].
template <typename T>
struct Partials {
  const T* numbers;
  const int32_t* index;
  int64_t slot_size;
  int64_t stride;
  int64_t groups;

  MUSTER_DEVICE double operator()(int slot, int64_t group) const {
    return static_cast<double>(numbers[slot * slot_size + group * stride]);
  }
};

template <typename T>
MUSTER_DEVICE void merge_softmax(const Partials<T>& from, double scale, bool moments, double* max, double* sum,
                                 double* moment) {
  for (int64_t group = 0; group < from.groups; ++group) {
    const double theirs = from(0, group), their_sum = from(1, group);
    const double most = theirs > *max ? theirs : *max;
    const double shift = scale * (*max - most), their_shift = scale * (theirs - most);
    const double factor = exp_of(shift), their_factor = exp_of(their_shift);
    if (moments) {
      *moment = factor * (*moment + *sum * shift) + their_factor * (from(2, group) + their_sum * their_shift);
    }
    *sum = factor * *sum + their_factor * their_sum;
    *max = most;
  }
}

template <typename T>
MUSTER_DEVICE void merge_sum(const Partials<T>& from, int slot, double* sum) {
  if (sum == nullptr) return;
  for (int64_t group = 0; group < from.groups; ++group) *sum += from(slot, group);
}

// One anchor of part p: a row of the tile, or one of its columns.
template <typename T>
MUSTER_DEVICE void merge_anchor(const FoldCall<T>& call, int p, bool is_row, int64_t anchor) {
  const FoldPart<T>& part = call.part[p];
  const GroupResults<T>& groups = call.groups[p];
  const DeviceTile<T>& tile = call.tile;
  const int64_t count = is_row ? tile.rows : tile.columns;
  const int64_t pieces = is_row ? tile.column_groups() : tile.row_groups();
  const Partials<T> from{(is_row ? groups.rows : groups.columns) + anchor,
                         is_row ? groups.row_index : groups.column_index, pieces * count, count, pieces};
  const int64_t i = anchor + (is_row ? tile.first_row : tile.first_column);
  double* const* result = is_row ? part.row_result : part.column_result;
  if (result[0] == nullptr) return;
  const auto place = [&](int slot) { return result[slot] == nullptr ? nullptr : result[slot] + i; };
  switch (part.kind) {
    case FoldKind::kSoftmax: {
      const T scale = value_of(is_row ? part.row[0] : part.column[0], i, part.constant[1]);
      return merge_softmax(from, static_cast<double>(scale), part.moments, place(0), place(1), place(2));
    }
    case FoldKind::kHardest:
      for (int64_t group = 0; group < pieces; ++group) {
        if (!(from(0, group) > *place(0))) continue;
        *place(0) = from(0, group);
        (is_row ? part.row_index : part.column_index)[i] = from.index[anchor + group * count];
      }
      return;
    case FoldKind::kPositiveSum:
    case FoldKind::kSoftplus:
      return merge_sum(from, 0, place(0));
    case FoldKind::kHinges:
      merge_sum(from, 0, place(0));
      merge_sum(from, 1, place(1));
      return;
  }
}

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
  const DeviceTile<T>& tile = call.tile;
  const int64_t count = is_row ? tile.rows : tile.columns;
  const int64_t pieces = is_row ? tile.column_groups() : tile.row_groups();
  const Partials<T> from{(is_row ? call.groups[p].rows : call.groups[p].columns) + anchor, nullptr, pieces * count,
                         count, pieces};
  const int64_t i = anchor + (is_row ? tile.first_row : tile.first_column);
  if (!is_row) return merge_sum(from, 0, part.column_total == nullptr ? nullptr : part.column_total + i);
  for (int slot = 0; slot < 2; ++slot) {
    merge_sum(from, slot, part.row_total[slot] == nullptr ? nullptr : part.row_total[slot] + i);
  }
}

}  // namespace muster::tile_kernels
