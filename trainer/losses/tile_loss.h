// What a loss is to the tile engine: it folds each tile of cosines into its statistics, and later gives each pair of
// the tile its weight. No torch here: pointers in, pointers out.
#pragma once

#include <cstdint>
#include <vector>

#include "trainer/losses/tile_program.h"

namespace muster {

// Cosines [rows, columns], contiguous: a horizontal slice of a tile. Blocks are what threads share out.
template <typename T>
struct Block {
  const T* cosines = nullptr;
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t first_row = 0;     // local index
  int64_t first_column = 0;  // global index
  int64_t index = 0;         // within its tile

  const T* row(int64_t r) const { return cosines + r * columns; }
};

// The most that a tile and its blocks hold.
struct TileShape {
  int64_t rows = 1024;
  int64_t columns = 2048;
  int64_t block_rows = 64;  // in pass 1
  int64_t weigh_rows = 8;   // in pass 2, whose weights should stay in the cache

  int64_t blocks() const { return (rows + block_rows - 1) / block_rows; }
  int64_t weigh_blocks() const { return (rows + weigh_rows - 1) / weigh_rows; }
};

// Threads call fold() and weigh() for different blocks of one tile, merge() and merge_weights() for different columns:
// `first` is counted from the tile's first column, which is column tile_column of the matrix.
template <typename T>
class TileLoss {
 public:
  virtual ~TileLoss() = default;

  // Pass 1. Takes a block into the statistics of its rows and into its own partial column statistics.
  virtual void fold(const Block<T>& block) = 0;

  // Takes the partial statistics of the tile's blocks, in order, into `count` columns.
  virtual void merge(int64_t /*tile_column*/, int64_t /*first*/, int64_t /*count*/, int64_t /*blocks*/) {}

  // Pass 2. weights [rows, columns] += d loss / d cosine, of whatever multiple of the loss the caller settled.
  virtual void weigh(const Block<T>& block, T* weights) = 0;

  // As merge(), for what weigh() left in partial column sums.
  virtual void merge_weights(int64_t /*tile_column*/, int64_t /*first*/, int64_t /*count*/, int64_t /*blocks*/) {}

  // The two passes as a device runs them in place of fold() and merge(), weigh() and merge_weights(): what their calls
  // would do over all tiles. Pointers hold until the loss's statistics change.
  virtual std::vector<FoldPart<T>> fold_program() = 0;
  virtual std::vector<WeighPart<T>> weigh_program() = 0;
};

template <typename T>
using TileLosses = std::vector<TileLoss<T>*>;

}  // namespace muster
