// How the columns of an evaluation come to an engine, pass by pass, and their gradient to the ranks that have them.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "comm/communicator.h"
#include "trainer/alignment.h"
#include "trainer/losses/alignment_engine.h"
#include "trainer/losses/column_rows.h"
#include "trainer/losses/pair_loss.h"

namespace muster {

// Columns that an engine has at hand.
struct ColumnBlock {
  int64_t first = 0;  // of the global batch's
  int64_t count = 0;
  at::Tensor rows;  // of them; of sets, words
};

// All columns at once.
template <typename Engine>
class GatheredColumns {
 public:
  GatheredColumns(const Engine& engine, const at::Tensor& rows, const ColumnRows& column_rows, int64_t count,
                  Communicator& communicator)
      : engine_(engine), column_rows_(column_rows), all_{0, count, rows}, communicator_(communicator) {}

  // Has this rank's own at hand; where their rows begin there.
  int64_t go_home() const { return column_rows_.first; }

  // For each block, while it is at hand. Collective.
  void pass(const std::function<void(const ColumnBlock&)>& visit) const { visit(all_); }

  // The same; gradient(block) is this rank's part of the block's gradient, the result the sum over ranks for this
  // rank's own rows. Collective.
  at::Tensor sum_gradient(const std::function<at::Tensor(const ColumnBlock&)>& gradient) const {
    const at::Tensor part = gradient(all_);
    const int64_t own = column_rows_.of_rank[static_cast<size_t>(communicator_.rank())];
    const at::Tensor sum = communicator_.size() == 1 ? part : at::empty({own, part.size(1)}, part.options());
    communicator_.reduce_scatter(sum, part, column_rows_.of_rank, "loss.text_gradient").wait();
    return sum;
  }

  // The same gradient where few pairs have a weight; adds to d_image. Collective.
  at::Tensor weigh_pairs(std::vector<WeighedPair> pairs, const at::Tensor& d_image) const {
    if (communicator_.size() == 1) {
      const at::Tensor d_text = at::empty_like(all_.rows);
      engine_.weigh_pairs(std::move(pairs), d_image, d_text);
      return d_text;
    }
    const SomeRows touched = engine_.weigh_pairs(std::move(pairs), d_image);
    return ColumnRoute(touched.index, column_rows_, communicator_).bring_home(touched.rows);
  }

 private:
  const Engine& engine_;
  ColumnRows column_rows_;
  ColumnBlock all_;
  Communicator& communicator_;
};

// Captions' words, one rank's at a time.
template <typename T>
class TravellingColumns {
 public:
  // words: this rank's; sizes: of all captions.
  TravellingColumns(AlignmentEngine<T>& engine, const at::Tensor& words, const ColumnRows& column_rows,
                    const std::vector<int64_t>& captions_of_rank, const std::vector<int64_t>& sizes,
                    Communicator& communicator)
      : engine_(engine),
        words_(words),
        column_rows_(column_rows),
        begin_(begins_of(captions_of_rank)),
        sizes_(sizes),
        communicator_(communicator),
        ring_(words, column_rows, communicator) {}

  int64_t go_home() const {
    take(static_cast<size_t>(communicator_.rank()), words_);
    return 0;
  }

  void pass(const std::function<void(const ColumnBlock&)>& visit) const {
    ring_.pass([&](size_t rank, const at::Tensor& rows) { visit(take(rank, rows)); });
  }

  at::Tensor sum_gradient(const std::function<at::Tensor(const ColumnBlock&)>& gradient) const {
    return ring_.sum_gradient([&](size_t rank, const at::Tensor& rows) { return gradient(take(rank, rows)); });
  }

  // Only the words of those pairs come here again.
  at::Tensor weigh_pairs(std::vector<WeighedPair> pairs, const at::Tensor& d_image) const {
    std::vector<int64_t> captions;
    for (const WeighedPair& pair : pairs) captions.push_back(pair.column);
    std::sort(captions.begin(), captions.end());
    captions.erase(std::unique(captions.begin(), captions.end()), captions.end());
    const std::vector<int64_t> begins = begins_of(sizes_);
    std::vector<int64_t> sizes, index;
    for (const int64_t caption : captions) {
      sizes.push_back(sizes_[static_cast<size_t>(caption)]);
      for (int64_t i = 0; i < sizes.back(); ++i) index.push_back(begins[static_cast<size_t>(caption)] + i);
    }
    for (WeighedPair& pair : pairs) {
      pair.column = std::lower_bound(captions.begin(), captions.end(), pair.column) - captions.begin();
    }
    const ColumnRoute route(index, column_rows_, communicator_);
    const at::Tensor words = route.fetch(words_);
    engine_.take_columns(words, sizes, 0);
    const at::Tensor d_words = at::empty_like(words);
    engine_.weigh_pairs(std::move(pairs), d_image, d_words);
    return route.bring_home(d_words);
  }

 private:
  ColumnBlock take(size_t rank, const at::Tensor& rows) const {
    engine_.take_columns(rows, {sizes_.begin() + begin_[rank], sizes_.begin() + begin_[rank + 1]}, begin_[rank]);
    return {begin_[rank], begin_[rank + 1] - begin_[rank], rows};
  }

  AlignmentEngine<T>& engine_;
  at::Tensor words_;
  ColumnRows column_rows_;
  std::vector<int64_t> begin_;  // of each rank's captions
  const std::vector<int64_t>& sizes_;
  Communicator& communicator_;
  ColumnRing ring_;
};

}  // namespace muster
