#include "trainer/losses/alignment_engine.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <numeric>
#include <stdexcept>

#include "trainer/losses/alignment_kernels.h"
#include "trainer/losses/tile_work.h"

namespace muster {
namespace {

// What a tile of products holds, unless one image or caption has more.
constexpr int64_t kTileRegions = 1152;
constexpr int64_t kTileWords = 512;
constexpr int64_t kRowsPerTask = 64;

int64_t largest(const std::vector<int64_t>& sizes) {
  return sizes.empty() ? 0 : *std::max_element(sizes.begin(), sizes.end());
}

// How many sets from `first` on have at most `rows` rows together; at least one.
template <typename T>
int64_t sets_within(const RowSets<T>& sets, int64_t first, int64_t most_sets, int64_t rows) {
  int64_t last = first + 1;
  while (last < sets.count() && last - first < most_sets && sets.begin(last + 1) - sets.begin(first) <= rows) ++last;
  return last - first;
}

}  // namespace

template <typename T>
RowSets<T>::RowSets(const T* data, int64_t width, const std::vector<int64_t>& sizes)
    : width_(width), begin_(begins_of(sizes)), rows_(data, begin_.back(), width) {
  const int64_t rows = begin_.back();
  in_parallel(rows, kRowsPerTask, [&](int64_t i, int64_t end) { rows_.measure(i, end - i); });
  scale_.resize(static_cast<size_t>(rows));
  for (int64_t i = 0; i < rows; ++i) {
    const double norm = rows_.norm(i);
    scale_[static_cast<size_t>(i)] = norm == 0 ? T{0} : static_cast<T>(1 / norm);
  }
}

template <typename T>
void RowSets<T>::project(int64_t first, int64_t count, T* y) const {
  in_parallel(count, kRowsPerTask, [&](int64_t i, int64_t end) { rows_.project(first + i, end - i, y + i * width_); });
}

template <typename T>
AlignmentEngine<T>::AlignmentEngine(const at::Tensor& rows, const SetSizes& sizes, const Alignment& alignment,
                                    const TileShape& shape)
    : rows_(rows),
      width_(rows.size(1)),
      alignment_(alignment),
      shape_(shape),
      images_(rows.const_data_ptr<T>(), width_, sizes.image),
      longest_caption_(largest(sizes.text)) {
  for (const int64_t regions : sizes.image) {
    if (regions < 1) throw std::logic_error("AlignmentEngine: an image without regions");
  }
  const int64_t regions = std::min(images_.begin(images_.count()), std::max(kTileRegions, largest(sizes.image)));
  const int64_t words = std::min(begins_of(sizes.text).back(), std::max(kTileWords, longest_caption_));
  product_buffer_ = at::empty({regions * words}, rows.options());
  const auto captions = static_cast<int64_t>(sizes.text.size());
  const auto pairs = static_cast<size_t>(std::min(shape.rows, images_.count()) * std::min(shape.columns, captions));
  scores_.resize(pairs);
  weights_.resize(pairs);
  scratch_.resize(static_cast<size_t>(at::get_num_threads()));
  for (Scratch& scratch : scratch_) {
    scratch.best.resize(static_cast<size_t>(words));
    scratch.region.resize(static_cast<size_t>(words));
    scratch.scaled.resize(static_cast<size_t>(words));
    scratch.gradient.resize(static_cast<size_t>(largest(sizes.image) * words));
  }
}

template <typename T>
void AlignmentEngine<T>::take_columns(const at::Tensor& words, const std::vector<int64_t>& sizes, int64_t first) {
  columns_ = words;
  captions_.emplace(words.const_data_ptr<T>(), width_, sizes);
  first_column_ = first;
  columns_finite_ &= captions_->all_finite();
  tile_is_current_ = false;
}

template <typename T>
void AlignmentEngine<T>::for_each_tile(const std::function<void(const Tile&)>& visit) {
  for (int64_t caption = 0; caption < captions_->count();) {
    const int64_t captions = sets_within(*captions_, caption, shape_.columns, kTileWords);
    for (int64_t image = 0; image < images_.count();) {
      const int64_t images = sets_within(images_, image, shape_.rows, kTileRegions);
      visit({image, images, caption, captions});
      image += images;
    }
    caption += captions;
  }
}

template <typename T>
at::Tensor AlignmentEngine<T>::regions_of(const Tile& tile) const {
  const int64_t first = images_.begin(tile.first_image);
  return rows_.narrow(0, first, images_.begin(tile.first_image + tile.images) - first);
}

template <typename T>
at::Tensor AlignmentEngine<T>::words_of(const Tile& tile) const {
  const int64_t first = captions_->begin(tile.first_caption);
  return columns_.narrow(0, first, captions_->begin(tile.first_caption + tile.captions) - first);
}

template <typename T>
at::Tensor AlignmentEngine<T>::products_of(const Tile& tile) const {
  const int64_t regions = regions_of(tile).size(0), words = words_of(tile).size(0);
  return product_buffer_.narrow(0, 0, regions * words).view({regions, words});
}

template <typename T>
void AlignmentEngine<T>::multiply_tile(const Tile& tile) const {
  product(products_of(tile), regions_of(tile), words_of(tile).t(), false);
}

template <typename T>
bool AlignmentEngine<T>::floored(int64_t caption) const {
  return alignment_.floor_at_zero && captions_->size(caption) < longest_caption_;
}

template <typename T>
void AlignmentEngine<T>::score(const T* a, int64_t image, int64_t first_caption, int64_t captions, Scratch& scratch,
                               T* scores) const {
  const int64_t first_word = captions_->begin(first_caption);
  const int64_t words = captions_->begin(first_caption + captions) - first_word;
  const T* region_scale = images_.scales() + images_.begin(image);
  const T* word_scale = captions_->scales() + first_word;
  std::fill_n(scores, captions, T{0});
  if (words == 0) return;
  if (alignment_.over_regions) {
    best_regions(a, images_.size(image), words, region_scale, scratch.best.data());
    multiply(scratch.best.data(), words, word_scale, scratch.scaled.data());
    for (int64_t c = 0; c < captions; ++c) {
      const int64_t begin = captions_->begin(first_caption + c) - first_word, size = captions_->size(first_caption + c);
      T sum = 0;
      for (int64_t w = begin; w < begin + size; ++w) sum += scratch.scaled[static_cast<size_t>(w)];
      scores[c] = alignment_.mean_over_words && size > 0 ? sum / static_cast<T>(size) : sum;
    }
  }
  if (!alignment_.over_words) return;
  for (int64_t r = 0; r < images_.size(image); ++r) {
    multiply(a + r * words, words, word_scale, scratch.scaled.data());
    for (int64_t c = 0; c < captions; ++c) {
      const int64_t begin = captions_->begin(first_caption + c) - first_word, size = captions_->size(first_caption + c);
      if (size == 0) continue;
      T best = scratch.scaled[static_cast<size_t>(begin)];
      for (int64_t w = begin + 1; w < begin + size; ++w) best = std::max(best, scratch.scaled[static_cast<size_t>(w)]);
      if (best < 0 && floored(first_caption + c)) best = 0;
      scores[c] += best * region_scale[r];
    }
  }
}

template <typename T>
void AlignmentEngine<T>::place(T* a, int64_t image, int64_t first_caption, int64_t captions, const T* weights,
                               Scratch& scratch) const {
  const int64_t regions = images_.size(image);
  const int64_t first_word = captions_->begin(first_caption);
  const int64_t words = captions_->begin(first_caption + captions) - first_word;
  if (words == 0) return;
  const T* region_scale = images_.scales() + images_.begin(image);
  const T* word_scale = captions_->scales() + first_word;
  T* gradient = scratch.gradient.data();
  std::fill_n(gradient, regions * words, T{0});
  if (alignment_.over_regions) {
    best_regions(a, regions, words, region_scale, scratch.best.data(), scratch.region.data());
    for (int64_t c = 0; c < captions; ++c) {
      const int64_t begin = captions_->begin(first_caption + c) - first_word, size = captions_->size(first_caption + c);
      const T weight = alignment_.mean_over_words && size > 0 ? weights[c] / static_cast<T>(size) : weights[c];
      if (weight == 0) continue;
      for (int64_t w = begin; w < begin + size; ++w) {
        const int64_t r = scratch.region[static_cast<size_t>(w)];
        gradient[r * words + w] += weight * region_scale[r] * word_scale[w];
      }
    }
  }
  for (int64_t r = 0; alignment_.over_words && r < regions; ++r) {
    multiply(a + r * words, words, word_scale, scratch.scaled.data());
    for (int64_t c = 0; c < captions; ++c) {
      const int64_t begin = captions_->begin(first_caption + c) - first_word, size = captions_->size(first_caption + c);
      if (size == 0 || weights[c] == 0) continue;
      const T* scaled = scratch.scaled.data() + begin;
      const T* best = std::max_element(scaled, scaled + size);
      if (*best < 0 && floored(first_caption + c)) continue;
      const int64_t w = begin + (best - scaled);
      gradient[r * words + w] += weights[c] * region_scale[r] * word_scale[w];
    }
  }
  std::copy_n(gradient, regions * words, a);
}

template <typename T>
void AlignmentEngine<T>::score_tile(const Tile& tile) {
  if (!tile_is_current_) multiply_tile(tile);
  const T* products = product_buffer_.template const_data_ptr<T>();
  const int64_t words = words_of(tile).size(0);
  const int64_t first_region = images_.begin(tile.first_image);
  in_parallel(tile.images, 1, [&](int64_t begin, int64_t end) {
    Scratch& scratch = scratch_[static_cast<size_t>(at::get_thread_num())];
    for (int64_t i = begin; i < end; ++i) {
      const int64_t image = tile.first_image + i;
      score(products + (images_.begin(image) - first_region) * words, image, tile.first_caption, tile.captions, scratch,
            scores_.data() + i * tile.captions);
    }
  });
}

template <typename T>
int64_t AlignmentEngine<T>::in_blocks(const Tile& tile, int64_t rows,
                                      const std::function<void(const Block<T>&)>& visit) const {
  const int64_t blocks = (tile.images + rows - 1) / rows;
  in_parallel(blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t index = begin; index < end; ++index) {
      const int64_t row = index * rows;
      visit({scores_.data() + row * tile.captions, std::min(rows, tile.images - row), tile.captions,
             tile.first_image + row, first_column_ + tile.first_caption, index});
    }
  });
  return blocks;
}

template <typename T>
void AlignmentEngine<T>::fold(const TileLosses<T>& losses) {
  int64_t tiles = 0;
  tile_is_current_ = false;
  for_each_tile([&](const Tile& tile) {
    ++tiles;
    score_tile(tile);
    const int64_t blocks = in_blocks(tile, shape_.block_rows, [&](const Block<T>& block) {
      for (TileLoss<T>* loss : losses) loss->fold(block);
    });
    for (TileLoss<T>* loss : losses) loss->merge(first_column_ + tile.first_caption, 0, tile.captions, blocks);
  });
  tile_is_current_ = tiles == 1;
}

template <typename T>
void AlignmentEngine<T>::weigh(const TileLosses<T>& losses, const at::Tensor& d_rows, const at::Tensor& d_columns) {
  if (images_.count() == 0) d_columns.zero_();
  for_each_tile([&](const Tile& tile) {
    score_tile(tile);
    std::fill_n(weights_.begin(), tile.images * tile.captions, T{0});
    const int64_t blocks = in_blocks(tile, shape_.weigh_rows, [&](const Block<T>& block) {
      T* weights = weights_.data() + (block.first_row - tile.first_image) * tile.captions;
      for (TileLoss<T>* loss : losses) loss->weigh(block, weights);
    });
    for (TileLoss<T>* loss : losses) loss->merge_weights(first_column_ + tile.first_caption, 0, tile.captions, blocks);

    T* products = product_buffer_.template data_ptr<T>();
    const at::Tensor regions = regions_of(tile), words = words_of(tile), placed = products_of(tile);
    const int64_t first_region = images_.begin(tile.first_image), first_word = captions_->begin(tile.first_caption);
    in_parallel(tile.images, 1, [&](int64_t begin, int64_t end) {
      Scratch& scratch = scratch_[static_cast<size_t>(at::get_thread_num())];
      for (int64_t i = begin; i < end; ++i) {
        const int64_t image = tile.first_image + i;
        place(products + (images_.begin(image) - first_region) * words.size(0), image, tile.first_caption,
              tile.captions, weights_.data() + i * tile.captions, scratch);
      }
    });
    product(d_rows.narrow(0, first_region, regions.size(0)), placed, words, true);
    product(d_columns.narrow(0, first_word, words.size(0)), placed.t(), regions, tile.first_image > 0);
  });
  tile_is_current_ = false;
}

template <typename T>
std::vector<typename AlignmentEngine<T>::Match> AlignmentEngine<T>::matches_of(const WeighedPair& pair) const {
  const int64_t caption = pair.column - first_column_;
  const int64_t regions = images_.size(pair.row), words = captions_->size(caption);
  if (words == 0) return {};
  const int64_t first_region = images_.begin(pair.row), first_word = captions_->begin(caption);
  const at::Tensor products = at::mm(rows_.narrow(0, first_region, regions), columns_.narrow(0, first_word, words).t());
  Scratch scratch;
  scratch.best.resize(static_cast<size_t>(words));
  scratch.region.resize(static_cast<size_t>(words));
  scratch.scaled.resize(static_cast<size_t>(words));
  scratch.gradient.resize(static_cast<size_t>(regions * words));
  const T weight = static_cast<T>(pair.weight);
  place(products.template data_ptr<T>(), pair.row, caption, 1, &weight, scratch);
  std::vector<Match> matches;
  for (int64_t r = 0; r < regions; ++r) {
    for (int64_t w = 0; w < words; ++w) {
      const T placed = scratch.gradient[static_cast<size_t>(r * words + w)];
      if (placed != 0) matches.push_back({first_region + r, first_word + w, placed});
    }
  }
  return matches;
}

template <typename T>
std::vector<typename AlignmentEngine<T>::Match> AlignmentEngine<T>::matches_of(std::vector<WeighedPair> pairs) const {
  const auto before = [](const WeighedPair& a, const WeighedPair& b) {
    return std::pair(a.row, a.column) < std::pair(b.row, b.column);
  };
  std::stable_sort(pairs.begin(), pairs.end(), before);
  std::vector<WeighedPair> merged;
  for (const WeighedPair& pair : pairs) {
    if (!merged.empty() && merged.back().row == pair.row && merged.back().column == pair.column) {
      merged.back().weight += pair.weight;
    } else {
      merged.push_back(pair);
    }
  }
  std::vector<std::vector<Match>> of_pair(merged.size());
  in_parallel(static_cast<int64_t>(merged.size()), 1, [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) of_pair[i] = matches_of(merged[i]);
  });
  std::vector<Match> matches;
  for (const std::vector<Match>& some : of_pair) matches.insert(matches.end(), some.begin(), some.end());
  return matches;
}

// Each pair's products in parallel; then each region's and each word's gradient by one thread, in the pairs' order.
template <typename T>
void AlignmentEngine<T>::weigh_pairs(std::vector<WeighedPair> pairs, const at::Tensor& d_rows,
                                     const at::Tensor& d_columns) const {
  std::vector<Match> matches = matches_of(std::move(pairs));
  d_columns.zero_();
  const std::vector<size_t> of_word = group(matches, &Match::word);
  add_matches(matches, of_word, &Match::region, rows_, d_columns,
              [](const Match& match, int64_t) { return match.word; });
  add_to_regions(std::move(matches), d_rows);
}

template <typename T>
SomeRows AlignmentEngine<T>::weigh_pairs(std::vector<WeighedPair> pairs, const at::Tensor& d_rows) const {
  std::vector<Match> matches = matches_of(std::move(pairs));
  SomeRows words;
  const std::vector<size_t> of_word = group(matches, &Match::word);
  for (size_t i = 0; i + 1 < of_word.size(); ++i) words.index.push_back(matches[of_word[i]].word);
  words.rows = at::zeros({static_cast<int64_t>(words.index.size()), width_}, columns_.options());
  add_matches(matches, of_word, &Match::region, rows_, words.rows, [](const Match&, int64_t group) { return group; });
  add_to_regions(std::move(matches), d_rows);
  return words;
}

template <typename T>
void AlignmentEngine<T>::add_to_regions(std::vector<Match> matches, const at::Tensor& d_rows) const {
  const std::vector<size_t> of_region = group(matches, &Match::region);
  add_matches(matches, of_region, &Match::word, columns_, d_rows,
              [](const Match& match, int64_t) { return match.region; });
}

template <typename T>
std::vector<size_t> AlignmentEngine<T>::group(std::vector<Match>& matches, int64_t Match::*by) {
  std::stable_sort(matches.begin(), matches.end(), [&](const Match& a, const Match& b) { return a.*by < b.*by; });
  std::vector<size_t> begins;
  for (size_t i = 0; i < matches.size(); ++i) {
    if (i == 0 || matches[i].*by != matches[i - 1].*by) begins.push_back(i);
  }
  begins.push_back(matches.size());
  return begins;
}

template <typename T>
template <typename Place>
void AlignmentEngine<T>::add_matches(const std::vector<Match>& matches, const std::vector<size_t>& begins,
                                     int64_t Match::*from, const at::Tensor& source, const at::Tensor& sums,
                                     const Place& place) const {
  const T* data = source.template const_data_ptr<T>();
  T* sum = sums.template data_ptr<T>();
  in_parallel(static_cast<int64_t>(begins.size()) - 1, kRowsPerTask, [&](int64_t first, int64_t end) {
    for (int64_t g = first; g < end; ++g) {
      for (size_t i = begins[static_cast<size_t>(g)]; i < begins[static_cast<size_t>(g) + 1]; ++i) {
        add_multiple(data + matches[i].*from * width_, width_, matches[i].weight, sum + place(matches[i], g) * width_);
      }
    }
  });
}

template <typename T>
void AlignmentEngine<T>::rows_backward(int64_t first, const at::Tensor& gradient,
                                       const double* /*norm_gradient*/) const {
  images_.project(first, gradient.size(0), gradient.template data_ptr<T>());
}

template <typename T>
void AlignmentEngine<T>::columns_backward(int64_t first, const at::Tensor& gradient,
                                          const double* /*norm_gradient*/) const {
  captions_->project(first, gradient.size(0), gradient.template data_ptr<T>());
}

template <typename T>
std::vector<double> AlignmentEngine<T>::pair_cosines(const std::vector<std::pair<int64_t, int64_t>>& pairs) const {
  std::vector<double> scores(pairs.size());
  in_parallel(static_cast<int64_t>(pairs.size()), 1, [&](int64_t begin, int64_t end) {
    Scratch scratch;
    scratch.best.resize(static_cast<size_t>(longest_caption_));
    scratch.scaled.resize(static_cast<size_t>(longest_caption_));
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      const int64_t image = pairs[i].first, caption = pairs[i].second - first_column_;
      const at::Tensor products = at::mm(rows_.narrow(0, images_.begin(image), images_.size(image)),
                                         columns_.narrow(0, captions_->begin(caption), captions_->size(caption)).t());
      T score_of_pair = 0;
      score(products.template const_data_ptr<T>(), image, caption, 1, scratch, &score_of_pair);
      scores[i] = static_cast<double>(score_of_pair);
    }
  });
  return scores;
}

template class RowSets<float>;
template class RowSets<double>;
template class AlignmentEngine<float>;
template class AlignmentEngine<double>;

}  // namespace muster
