#include "trainer/retrieval/set_retrieval.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <optional>
#include <stdexcept>

#include "trainer/retrieval/column_ranks.h"
#include "trainer/retrieval/column_tops.h"
#include "trainer/retrieval/global_rows.h"
#include "trainer/retrieval/positive_index.h"
#include "trainer/retrieval/rank_figures.h"
#include "trainer/retrieval/row_ranks.h"
#include "trainer/retrieval/row_tops.h"
#include "trainer/retrieval/score_kernel.h"

namespace muster {
namespace {

static_assert(kMostRegions <= kBlockRows, "an image's regions are in one block");

void check_sets(const EmbeddingSets& side, int64_t least, int64_t most) {
  const auto count = static_cast<int64_t>(side.sizes.size());
  if (side.identity.dim() != 1 || side.identity.scalar_type() != at::kLong || side.identity.size(0) != count) {
    throw std::logic_error("evaluate_sets: identity must be int64 with one entry a set");
  }
  for (const int64_t size : side.sizes) {
    if (size < least || size > most) throw std::logic_error("evaluate_sets: a set has an impossible number of rows");
  }
  if (side.features.dim() != 2 || begins_of(side.sizes).back() != side.features.size(0)) {
    throw std::logic_error("evaluate_sets: sizes and features differ in rows");
  }
}

// Of one caption with some images whose regions lie one after another: scores from the products of its words.
class CaptionScores {
 public:
  explicit CaptionScores(const Alignment& alignment)
      : alignment_(alignment), sum_(kBlockRows), best_word_(kBlockRows) {}

  // Regions of image i: [begins[i], begins[i + 1]).
  void begin(const int64_t* begins, int64_t images) {
    begins_ = begins;
    images_ = images;
    words_ = 0;
    std::fill_n(sum_.begin(), images, 0.0F);
    std::fill_n(best_word_.begin(), begins[images], -std::numeric_limits<float>::infinity());
  }

  // products[r] with the regions.
  void add_word(const float* products) {
    ++words_;
    for (int64_t i = 0; alignment_.over_regions && i < images_; ++i) {
      float best = products[begins_[i]];
      for (int64_t r = begins_[i] + 1; r < begins_[i + 1]; ++r) best = std::max(best, products[r]);
      sum_[static_cast<size_t>(i)] += best;
    }
    float* most = best_word_.data();
    for (int64_t r = 0; alignment_.over_words && r < begins_[images_]; ++r) most[r] = std::max(most[r], products[r]);
  }

  void finish(float* scores) const {
    for (int64_t i = 0; i < images_; ++i) {
      const float sum = sum_[static_cast<size_t>(i)];
      float score = alignment_.mean_over_words && words_ > 0 ? sum / static_cast<float>(words_) : sum;
      for (int64_t r = begins_[i]; alignment_.over_words && words_ > 0 && r < begins_[i + 1]; ++r) {
        const float best = best_word_[static_cast<size_t>(r)];
        score += alignment_.floor_at_zero ? std::max(best, 0.0F) : best;
      }
      scores[i] = score;
    }
  }

 private:
  Alignment alignment_;
  const int64_t* begins_ = nullptr;
  int64_t images_ = 0;
  int64_t words_ = 0;
  std::vector<float> sum_;        // of each image
  std::vector<float> best_word_;  // of each region
};

// A block of images and where their regions begin in it.
struct ImageBlock {
  int64_t first = 0;  // of all ranks' images
  std::vector<int64_t> begins;

  int64_t count() const { return static_cast<int64_t>(begins.size()) - 1; }
  int64_t regions() const { return begins.back(); }
};

std::vector<ImageBlock> cut_into_blocks(const std::vector<int64_t>& sizes) {
  std::vector<ImageBlock> blocks;
  for (size_t image = 0; image < sizes.size(); ++image) {
    if (blocks.empty() || blocks.back().regions() + sizes[image] > kBlockRows) {
      blocks.push_back({static_cast<int64_t>(image), {0}});
    }
    blocks.back().begins.push_back(blocks.back().regions() + sizes[image]);
  }
  return blocks;
}

// This rank's captions against a block.
class SetScorer {
 public:
  SetScorer(const UnitRows& words, const std::vector<int64_t>& sizes, const Alignment& alignment)
      : words_(words),
        begins_(begins_of(sizes)),
        alignment_(alignment),
        panels_(static_cast<size_t>(kBlockRows * words.width())) {}

  int64_t captions() const { return static_cast<int64_t>(begins_.size()) - 1; }

  // As the pair has it in score(), bit for bit; images by their place in the block.
  void score_pairs(int64_t caption, const float* regions, const ImageBlock& block, const std::vector<int64_t>& images,
                   float* scores) const {
    const int64_t width = words_.width();
    CaptionScores of_caption(alignment_);
    std::vector<float> unit(static_cast<size_t>(width)), products(kBlockRows);
    std::vector<const float*> rows;
    for (size_t k = 0; k < images.size(); ++k) {
      const int64_t begin = block.begins[static_cast<size_t>(images[k])];
      const int64_t begins[] = {0, block.begins[static_cast<size_t>(images[k]) + 1] - begin};
      rows.clear();
      for (int64_t r = 0; r < begins[1]; ++r) rows.push_back(regions + (begin + r) * width);
      of_caption.begin(begins, 1);
      for (int64_t word = begins_[static_cast<size_t>(caption)]; word < begins_[static_cast<size_t>(caption) + 1];
           ++word) {
        words_.copy(word, unit.data());
        muster::score_pairs(unit.data(), rows.data(), begins[1], width, products.data());
        of_caption.add_word(products.data());
      }
      of_caption.finish(scores + k);
    }
  }

  // visit(worker, caption, scores of the block's images), from several threads, by the names of 0 <= worker <
  // at::get_num_threads(); the captions of a worker ascend.
  using Visit = std::function<void(int worker, int64_t caption, const float* scores)>;
  void score(const float* regions, const ImageBlock& block, const Visit& visit) {
    const int64_t panels = (block.regions() + kPanelRows - 1) / kPanelRows, width = words_.width();
    at::parallel_for(0, panels, 1, [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) {
        pack_panel(regions + p * kPanelRows * width, width, std::min(kPanelRows, block.regions() - p * kPanelRows),
                   width, panels_.data() + p * kPanelRows * width);
      }
    });
    at::parallel_for(0, captions(), 16, [&](int64_t begin, int64_t end) { score_some(block, begin, end, visit); });
  }

 private:
  // Captions [begin, end): their words in groups, across the captions' borders.
  void score_some(const ImageBlock& block, int64_t begin, int64_t end, const Visit& visit) const {
    const int64_t panels = (block.regions() + kPanelRows - 1) / kPanelRows, width = words_.width();
    const int64_t stride = width + 16;  // as kScoreStride
    const int worker = at::get_thread_num();
    std::vector<float> unit(static_cast<size_t>(kGroupRows * stride)), products(kTileScores), scores(kScoreStride);
    CaptionScores of_caption(alignment_);
    int64_t caption = begin;
    of_caption.begin(block.begins.data(), block.count());
    const auto finish_before = [&](int64_t word) {
      while (caption < end && begins_[static_cast<size_t>(caption) + 1] <= word) {
        of_caption.finish(scores.data());
        visit(worker, caption++, scores.data());
        of_caption.begin(block.begins.data(), block.count());
      }
    };
    const int64_t last = begins_[static_cast<size_t>(end)];
    for (int64_t first = begins_[static_cast<size_t>(begin)]; first < last; first += kGroupRows) {
      const int64_t count = std::min(kGroupRows, last - first);
      for (int64_t q = 0; q < count; ++q) words_.copy(first + q, unit.data() + q * stride);
      for (int64_t p = 0; p < panels; ++p) {
        score_panel(unit.data(), stride, width, panels_.data() + p * kPanelRows * width,
                    products.data() + p * kPanelRows, kScoreStride);
      }
      for (int64_t q = 0; q < count; ++q) {
        finish_before(first + q);
        of_caption.add_word(products.data() + q * kScoreStride);
      }
    }
    finish_before(last);
  }

  const UnitRows& words_;
  std::vector<int64_t> begins_;
  Alignment alignment_;
  std::vector<float> panels_;
};

// Numbers of sets of each rank.
std::vector<int64_t> counts_of_ranks(int64_t own, Communicator& communicator) {
  const at::Tensor mine = at::empty({1}, at::kLong);
  mine.fill_(own);
  const at::Tensor all = gather_rows(mine, std::vector<int64_t>(static_cast<size_t>(communicator.size()), 1),
                                     communicator, "retrieval.sets");
  return {all.const_data_ptr<int64_t>(), all.const_data_ptr<int64_t>() + all.size(0)};
}

std::vector<int64_t> gather_numbers(const std::vector<int64_t>& own, const std::vector<int64_t>& counts,
                                    Communicator& communicator) {
  const at::Tensor mine = at::empty({static_cast<int64_t>(own.size())}, at::kLong);
  std::copy(own.begin(), own.end(), mine.mutable_data_ptr<int64_t>());
  const at::Tensor all = gather_rows(mine, counts, communicator, "retrieval.sizes");
  return {all.const_data_ptr<int64_t>(), all.const_data_ptr<int64_t>() + all.size(0)};
}

void write_items(const std::vector<Hit>& hits, int64_t* items, int64_t row, int64_t width) {
  std::transform(hits.begin(), hits.end(), items + row * width, [](const Hit& hit) { return int64_t{hit.item}; });
}

}  // namespace

BothDirections evaluate_sets(const EmbeddingSets& texts, const EmbeddingSets& images, const Alignment& alignment,
                             Communicator& communicator, BestItems* best) {
  check_sets(texts, 0, std::numeric_limits<int64_t>::max());
  check_sets(images, 1, kMostRegions);
  const EmbeddingRows word_rows{texts.features, {}}, region_rows{images.features, {}};
  const RetrievalShape shape = agree_on_shape(word_rows, region_rows, communicator);
  const UnitRows words(word_rows, shape.width), regions(region_rows, shape.width);
  const std::vector<int64_t> text_counts = counts_of_ranks(texts.identity.size(0), communicator);
  const std::vector<int64_t> image_counts = counts_of_ranks(images.identity.size(0), communicator);
  const at::Tensor image_identity = gather_rows(images.identity, image_counts, communicator, "retrieval.identity");
  const at::Tensor text_identity = gather_rows(texts.identity, text_counts, communicator, "retrieval.identity");
  const auto* identity = image_identity.const_data_ptr<int64_t>();
  const int64_t gallery = image_identity.size(0);
  const PositiveIndex image_index(identity, gallery);
  const ColumnGallery all_texts(text_identity, text_counts, communicator.rank());
  const std::vector<ImageBlock> blocks = cut_into_blocks(gather_numbers(images.sizes, image_counts, communicator));
  std::vector<int64_t> block_rows;
  for (const ImageBlock& block : blocks) block_rows.push_back(block.regions());

  SetScorer scorer(words, texts.sizes, alignment);
  RowRanks of_texts(texts.identity, image_index);
  // visit(block of images, as RowRanks and ColumnRanks know it, its regions' rows).
  const auto for_each_block = [&](const auto& visit) {
    auto block = blocks.begin();
    for_each_gallery_block(regions, shape, block_rows, communicator, [&](const GalleryBlock& rows) {
      visit(*block, GalleryBlock{block->first, block->count(), nullptr}, rows.rows);
      ++block;
    });
  };
  for_each_block([&](const ImageBlock& block, const GalleryBlock& items, const float* rows) {
    of_texts.score_positives(items, [&](int64_t caption, const std::vector<int64_t>& found, float* scores) {
      std::vector<int64_t> places;
      for (const int64_t image : found) places.push_back(image - block.first);
      scorer.score_pairs(caption, rows, block, places, scores);
    });
  });
  of_texts.begin_counting();
  const at::Tensor image_figures = at::empty({gallery, kFigures}, at::kDouble);
  const int64_t all_captions = text_identity.size(0);
  std::optional<RowTops> text_tops;
  at::Tensor image_best;
  if (best != nullptr) {
    text_tops.emplace(scorer.captions(), kNdcgItems);
    image_best = at::empty({gallery, std::min(kNdcgItems, all_captions)}, at::kLong);
  }
  for_each_block([&](const ImageBlock& block, const GalleryBlock& items, const float* rows) {
    std::optional<ColumnTops> image_tops;
    if (best != nullptr) image_tops.emplace(items, kNdcgItems, text_counts, communicator.rank());
    ColumnRanks of_images(all_texts, identity + items.first, items.count);
    of_images.exchange_scores(of_texts.positive_scores(items), communicator);
    scorer.score(rows, block, [&](int worker, int64_t caption, const float* scores) {
      of_texts.count(caption, scores, items);
      of_images.count(worker, caption, 1, scores);
      if (best == nullptr) return;
      text_tops->consider(caption, scores, items);
      image_tops->consider(worker, caption, 1, scores);
    });
    if (best != nullptr) {
      image_tops->finish(communicator);
      for (int64_t i = 0; i < items.count; ++i) {
        write_items(image_tops->best_first(i), image_best.mutable_data_ptr<int64_t>(), items.first + i,
                    image_best.size(1));
      }
    }
    of_images.write_figures(communicator, image_figures.mutable_data_ptr<double>() + items.first * kFigures);
  });
  if (best != nullptr) {
    text_tops->end_considering();
    text_tops->sort();
    best->of_texts = at::empty({scorer.captions(), std::min(kNdcgItems, gallery)}, at::kLong);
    for (int64_t q = 0; q < scorer.captions(); ++q) {
      write_items(text_tops->best_first(q), best->of_texts.mutable_data_ptr<int64_t>(), q, best->of_texts.size(1));
    }
    const int64_t own = std::accumulate(image_counts.begin(), image_counts.begin() + communicator.rank(), int64_t{0});
    best->of_images = image_best.narrow(0, own, images.identity.size(0)).contiguous();
  }
  const at::Tensor text_figures = gather_rows(of_texts.figures(), text_counts, communicator, "retrieval.figures");
  return {mean_figures(text_figures, gallery), mean_figures(image_figures, text_identity.size(0))};
}

}  // namespace muster
