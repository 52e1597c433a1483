// The gallery of all ranks as a stream of blocks that every rank sees, and what the ranks agree on before it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "comm/communicator.h"
#include "trainer/retrieval/retrieval.h"
#include "trainer/retrieval/score_kernel.h"

namespace muster {

struct RetrievalShape {
  int64_t width = 0;
  std::vector<int64_t> query_rows;  // of each rank
  std::vector<int64_t> gallery_rows;

  int64_t gallery() const;
};

// Checks both sides on every rank and exchanges their sizes. Collective; throws as retrieval.h says.
RetrievalShape agree_on_shape(const EmbeddingRows& queries, const EmbeddingRows& gallery, Communicator& communicator);

// [sum(rows), ...] of all ranks, on every rank.
at::Tensor gather_rows(const at::Tensor& local, const std::vector<int64_t>& rows, Communicator& communicator,
                       const char* name);

// This rank's rows as unit rows (or as they are, if they say so), made on demand; behind each, where there is one, its
// second row as it is.
class UnitRows {
 public:
  UnitRows(const EmbeddingRows& rows, int64_t width);
  UnitRows(const EmbeddingRows& rows, int64_t width, const at::Tensor& second);

  int64_t size() const { return static_cast<int64_t>(scales_.size()); }
  // Of a row and of its second row (0: there is none).
  const std::vector<int64_t>& widths() const { return widths_; }
  // Of both together.
  int64_t width() const { return widths_[0] + widths_[1]; }
  // Both, or parts = 1: the row alone.
  void copy(int64_t row, float* unit, size_t parts = 2) const;
  const float* second(int64_t row) const { return second_.const_data_ptr<float>() + row * widths_[1]; }

 private:
  at::Tensor features_;
  at::Tensor second_;
  std::vector<int64_t> widths_;
  std::vector<double> scales_;
};

// Consecutive global gallery rows, unit, contiguous.
struct GalleryBlock {
  int64_t first;
  int64_t count;
  const float* rows;
};

inline constexpr int64_t kBlockRows = 1024;

// Visits all gallery rows in global order, kBlockRows at a time; the block is valid during the visit. Collective.
void for_each_gallery_block(const UnitRows& local, const RetrievalShape& shape, Communicator& communicator,
                            const std::function<void(const GalleryBlock&)>& visit);
// The same with blocks of these numbers of rows, at most kBlockRows each, the gallery's together.
void for_each_gallery_block(const UnitRows& local, const RetrievalShape& shape, const std::vector<int64_t>& blocks,
                            Communicator& communicator, const std::function<void(const GalleryBlock&)>& visit);

// Rows a power of two apart would share a few sets of the first-level cache.
inline constexpr int64_t kScoreStride = kBlockRows + 16;

// Scores of `count` consecutive queries against one block: scores[q * kScoreStride + r]; those of second rows from
// kTileScores on. May be overwritten.
using VisitScores = std::function<void(int worker, int64_t first_query, int64_t count, float* scores)>;
inline constexpr int64_t kTileScores = kGroupRows * kScoreStride;

// Scores this rank's queries against a block, a few at a time, each once; parts: 1, their rows, or 2, with second rows
// where there are any. Calls visit from several threads, by the
// names of 0 <= worker < at::get_num_threads(); the queries of a worker ascend.
class BlockScorer {
 public:
  explicit BlockScorer(const UnitRows& queries, size_t parts = 2);
  void score(const GalleryBlock& block, const VisitScores& visit);

 private:
  const UnitRows& queries_;
  size_t parts_;
  std::vector<float> panels_;  // of the rows, then of their second rows
};

}  // namespace muster
