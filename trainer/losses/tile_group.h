// What the interpreter of tile programs works with: a group of pairs, and how groups' results are added up. Compiled
// for GPUs by tile_device.cu and for the CPU by the tests, which so prove the same lines; the two differ in their Team
// alone:
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

// Of a row of the tile, or of one of its columns.
template <typename T>
MUSTER_DEVICE Partials<T> partials_of(const DeviceTile<T>& tile, const GroupResults<T>& groups, bool is_row,
                                      int64_t anchor) {
  const int64_t count = is_row ? tile.rows : tile.columns;
  const int64_t pieces = is_row ? tile.column_groups() : tile.row_groups();
  const int32_t* index = is_row ? groups.row_index : groups.column_index;
  return {(is_row ? groups.rows : groups.columns) + anchor, index + anchor, pieces * count, count, pieces};
}

template <typename T>
MUSTER_DEVICE void merge_sum(const Partials<T>& from, int slot, double* sum) {
  if (sum == nullptr) return;
  for (int64_t group = 0; group < from.groups; ++group) *sum += from(slot, group);
}

}  // namespace muster::tile_kernels
