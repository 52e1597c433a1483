// What the score of a text and an image is: the product of their rows, or a mixture of two products with weights of the
// one that asks.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "trainer/retrieval/global_rows.h"

namespace muster {

class ScoreRule {
 public:
  // The product of the rows.
  explicit ScoreRule(int64_t width) : widths_{width, 0} {}
  // Mixtures: widths of rows and second rows, weights [n,2] of this rank's queries and of the whole gallery.
  ScoreRule(std::vector<int64_t> widths, const at::Tensor& query_weights, const at::Tensor& gallery_weights);

  // The same score whoever asks.
  bool is_plain() const { return widths_[1] == 0; }

  // Of query `query` (`unit`: its rows as UnitRows::copy() makes them) and these items of the block, ascending:
  // as_query[i], and unless the rule is plain as_item[i], the item asking.
  void score_pairs(int64_t query, const float* unit, const GalleryBlock& block, const std::vector<int64_t>& items,
                   float* as_query, float* as_item) const;

  // One pair's mixture of its two products, this rank's query asking, or the gallery item. Not of plain rules.
  float mix_for_query(int64_t query, float first, float second) const;
  float mix_for_item(int64_t item, float first, float second) const;

  // From what BlockScorer gives to scores: those of the queries stand at tile, those of the items as_items(tile).
  void finish_tile(int64_t first_query, int64_t count, const GalleryBlock& block, float* tile) const;
  const float* as_items(const float* tile) const { return is_plain() ? tile : tile + kTileScores; }

 private:
  std::vector<int64_t> widths_;
  std::vector<float> query_weights_;                   // [n,2]
  std::vector<float> first_weights_, second_weights_;  // of each gallery item
};

}  // namespace muster
