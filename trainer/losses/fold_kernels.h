// Pass 1 of tile programs (tile_program.h): what one group folds, and how an anchor takes it up.
#pragma once

#include <cstdint>

#include "trainer/losses/tile_group.h"

namespace muster::tile_kernels {

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

// One anchor of part p: a row of the tile, or one of its columns.
template <typename T>
MUSTER_DEVICE void merge_anchor(const FoldCall<T>& call, int p, bool is_row, int64_t anchor) {
  const FoldPart<T>& part = call.part[p];
  const Partials<T> from = partials_of(call.tile, call.groups[p], is_row, anchor);
  const int64_t i = anchor + (is_row ? call.tile.first_row : call.tile.first_column);
  double* const* result = is_row ? part.row_result : part.column_result;
  if (result[0] == nullptr) return;
  const auto place = [&](int slot) { return result[slot] == nullptr ? nullptr : result[slot] + i; };
  switch (part.kind) {
    case FoldKind::kSoftmax: {
      const T scale = value_of(is_row ? part.row[0] : part.column[0], i, part.constant[1]);
      return merge_softmax(from, static_cast<double>(scale), part.moments, place(0), place(1), place(2));
    }
    case FoldKind::kHardest:
      for (int64_t group = 0; group < from.groups; ++group) {
        if (!(from(0, group) > *place(0))) continue;
        *place(0) = from(0, group);
        (is_row ? part.row_index : part.column_index)[i] = from.index[group * from.stride];
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

}  // namespace muster::tile_kernels
