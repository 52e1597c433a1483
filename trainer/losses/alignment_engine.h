// The two passes of tile_engine.h over scores of sets: rows are images, columns captions, and a score is made of the
// cosines of all their regions and words (alignment.h). A tile of products of regions and words, its scores and their
// weights are all the memory it takes (3 MiB in float); nothing of size images x words exists.
//
// The captions need not all be there at once: a pass is over those at hand, of one rank or of all.
//
// Pass 2 has two ways. Of losses that weigh few pairs (hardest negatives: at most 3 a sample) only those pairs'
// products are made again, and only the words that they touch have gradients; else all tiles are, and gradients are two
// more products of the same size: the weights, put where the best regions and words are, times words and regions. Which
// one is best is a constant for the gradient; ties go to the lower index.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "trainer/alignment.h"
#include "trainer/losses/pair_loss.h"
#include "trainer/losses/unit_rows.h"

namespace muster {

// Rows of sets of samples, one set after another.
template <typename T>
class RowSets {
 public:
  // data [sum of sizes, width], raw, contiguous, must outlive this.
  RowSets(const T* data, int64_t width, const std::vector<int64_t>& sizes);

  int64_t count() const { return static_cast<int64_t>(begin_.size()) - 1; }  // of sets
  int64_t begin(int64_t set) const { return begin_[static_cast<size_t>(set)]; }
  int64_t size(int64_t set) const { return begin(set + 1) - begin(set); }
  // 1 / length of each row; 0 for rows that count as zero.
  const T* scales() const { return scale_.data(); }
  // In place: takes away what lies along the rows: from y [count, width] to d / d raw rows, where d / d unit rows is
  // y times the length.
  void project(int64_t first, int64_t count, T* y) const;
  bool all_finite() const { return rows_.all_finite(); }

 private:
  int64_t width_;
  std::vector<int64_t> begin_;
  UnitRows<T> rows_;
  std::vector<T> scale_;
};

// Some rows of a matrix, such as those of a gradient that are not zero.
struct SomeRows {
  std::vector<int64_t> index;  // ascending
  at::Tensor rows;             // [index.size(), width]
};

template <typename T>
class AlignmentEngine {
 public:
  static constexpr bool kRowsHaveLengths = false;
  static constexpr bool kWeighsPairs = true;

  // rows: regions [sum of sizes.image, d] of this rank's images, raw, contiguous, of type T, on the CPU; sizes.text: of
  // all captions.
  AlignmentEngine(const at::Tensor& rows, const SetSizes& sizes, const Alignment& alignment, const TileShape& shape);

  // From now on the columns are these captions', column `first` and the following of the global batch: words [sum of
  // sizes, d], like the rows. To be called before the rest.
  void take_columns(const at::Tensor& words, const std::vector<int64_t>& sizes, int64_t first);

  // As TileEngine's, of rows and columns that are images and captions; gradients are of regions and words. What
  // d_rows holds is added to.
  void fold(const TileLosses<T>& losses);
  void weigh(const TileLosses<T>& losses, const at::Tensor& d_rows, const at::Tensor& d_columns);
  // The same of these pairs alone, which may stand there in parts and in any order; and with the columns' gradient in
  // the rows that they touch.
  void weigh_pairs(std::vector<WeighedPair> pairs, const at::Tensor& d_rows, const at::Tensor& d_columns) const;
  SomeRows weigh_pairs(std::vector<WeighedPair> pairs, const at::Tensor& d_rows) const;
  // `first` counts regions or words; there are no gradients of lengths.
  void rows_backward(int64_t first, const at::Tensor& gradient, const double* norm_gradient) const;
  void columns_backward(int64_t first, const at::Tensor& gradient, const double* norm_gradient) const;
  std::vector<double> pair_cosines(const std::vector<std::pair<int64_t, int64_t>>& pairs) const;
  // The rows, and all columns that there were.
  bool all_finite() const { return images_.all_finite() && columns_finite_; }

 private:
  // Images and captions from first_* on whose products fit the buffer; the first caption at hand is 0.
  struct Tile {
    int64_t first_image;
    int64_t images;
    int64_t first_caption;
    int64_t captions;
  };
  // A region and a word that are each other's best, for the gradient of a pair's score.
  struct Match {
    int64_t region;
    int64_t word;
    T weight;  // d loss / d product of the raw rows
  };
  // Room of one thread.
  struct Scratch {
    std::vector<T> best;          // [words]
    std::vector<int32_t> region;  // [words]
    std::vector<T> scaled;        // [words]
    std::vector<T> gradient;      // [regions of an image, words]
  };

  void for_each_tile(const std::function<void(const Tile&)>& visit);
  at::Tensor regions_of(const Tile& tile) const;
  at::Tensor words_of(const Tile& tile) const;
  at::Tensor products_of(const Tile& tile) const;
  void multiply_tile(const Tile& tile) const;
  void score_tile(const Tile& tile);
  // The tile's scores in slices of so many images, on all threads; how many slices.
  int64_t in_blocks(const Tile& tile, int64_t rows, const std::function<void(const Block<T>&)>& visit) const;
  bool floored(int64_t caption) const;
  // scores [captions] of an image, whose products begin at a [regions, words of the captions].
  void score(const T* a, int64_t image, int64_t first_caption, int64_t captions, Scratch& scratch, T* scores) const;
  // Replaces these products by their weights, weights [captions] being d loss / d score.
  void place(T* a, int64_t image, int64_t first_caption, int64_t captions, const T* weights, Scratch& scratch) const;
  std::vector<Match> matches_of(const WeighedPair& pair) const;
  std::vector<Match> matches_of(std::vector<WeighedPair> pairs) const;  // pair by pair, by row and column
  // Sorts them by region or word, those of one as they were; where each one's begin, and the end.
  static std::vector<size_t> group(std::vector<Match>& matches, int64_t Match::*by);
  void add_to_regions(std::vector<Match> matches, const at::Tensor& d_rows) const;
  // sums[place(match, group)] += weight source[match.*from], group by group.
  template <typename Place>
  void add_matches(const std::vector<Match>& matches, const std::vector<size_t>& begins, int64_t Match::*from,
                   const at::Tensor& source, const at::Tensor& sums, const Place& place) const;

  at::Tensor rows_;
  int64_t width_;
  Alignment alignment_;
  TileShape shape_;
  RowSets<T> images_;
  int64_t longest_caption_;  // of all
  at::Tensor columns_;       // those at hand
  std::optional<RowSets<T>> captions_;
  int64_t first_column_ = 0;
  bool columns_finite_ = true;
  at::Tensor product_buffer_;
  std::vector<T> scores_;         // of the tile, [images, captions]
  std::vector<T> weights_;        // the same
  std::vector<Scratch> scratch_;  // one a thread
  bool tile_is_current_ = false;  // the only tile there is still holds its products and scores
};

}  // namespace muster
