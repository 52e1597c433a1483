// Ranks by counting: a positive's rank is one more than the number of gallery items that beat it. First the positives
// are scored alone, then every pair of a text and an image is scored once, and the positives of the text and those of
// the image count who beats them.
#include <ATen/ops/empty.h>

#include <algorithm>
#include <numeric>
#include <stdexcept>

#include "trainer/retrieval/column_ranks.h"
#include "trainer/retrieval/column_tops.h"
#include "trainer/retrieval/global_rows.h"
#include "trainer/retrieval/positive_index.h"
#include "trainer/retrieval/rank_figures.h"
#include "trainer/retrieval/retrieval.h"
#include "trainer/retrieval/row_ranks.h"
#include "trainer/retrieval/row_tops.h"
#include "trainer/retrieval/score_rule.h"

namespace muster {
namespace {

void check_identities(const EmbeddingRows& side) {
  if (side.identity.dim() != 1 || side.identity.scalar_type() != at::kLong || side.features.dim() != 2 ||
      side.identity.size(0) != side.features.size(0)) {
    throw std::logic_error("retrieval: identity must be int64 with one entry a row");
  }
}

BothDirections evaluate_rows(const EmbeddingRows& texts, const UnitRows& unit_texts, const EmbeddingRows& images,
                             const UnitRows& unit_images, const RetrievalShape& shape, const ScoreRule& rule,
                             Communicator& communicator) {
  const at::Tensor image_identity =
      gather_rows(images.identity, shape.gallery_rows, communicator, "retrieval.identity");
  const at::Tensor text_identity = gather_rows(texts.identity, shape.query_rows, communicator, "retrieval.identity");
  const auto* identity = image_identity.const_data_ptr<int64_t>();
  const PositiveIndex image_index(identity, image_identity.size(0));
  const ColumnGallery all_texts(text_identity, shape.query_rows, communicator.rank());

  RowRanks of_texts(texts.identity, image_index);
  for_each_gallery_block(unit_images, shape, communicator,
                         [&](const GalleryBlock& block) { of_texts.score_positives(unit_texts, block, rule); });
  of_texts.begin_counting();
  const at::Tensor image_figures = at::empty({shape.gallery(), kFigures}, at::kDouble);
  BlockScorer scorer(unit_texts);
  for_each_gallery_block(unit_images, shape, communicator, [&](const GalleryBlock& block) {
    ColumnRanks of_images(all_texts, identity + block.first, block.count);
    of_images.exchange_scores(of_texts.positive_scores(block), communicator);
    scorer.score(block, [&](int worker, int64_t first, int64_t count, float* scores) {
      rule.finish_tile(first, count, block, scores);
      for (int64_t q = 0; q < count; ++q) of_texts.count(first + q, scores + q * kScoreStride, block);
      of_images.count(worker, first, count, rule.as_items(scores));
    });
    of_images.write_figures(communicator, image_figures.mutable_data_ptr<double>() + block.first * kFigures);
  });
  const at::Tensor text_figures = gather_rows(of_texts.figures(), shape.query_rows, communicator, "retrieval.figures");
  return {mean_figures(text_figures, shape.gallery()), mean_figures(image_figures, text_identity.size(0))};
}

// All pairs by the product of their rows, the best of each query once more by the rule.
BothDirections evaluate_tops(const MixedRows& texts, const UnitRows& unit_texts, const MixedRows& images,
                             const UnitRows& unit_images, const RetrievalShape& shape, const ScoreRule& rule,
                             int64_t top, Communicator& communicator) {
  const at::Tensor image_identity =
      gather_rows(images.rows.identity, shape.gallery_rows, communicator, "retrieval.identity");
  const at::Tensor text_identity =
      gather_rows(texts.rows.identity, shape.query_rows, communicator, "retrieval.identity");
  const auto* identity = image_identity.const_data_ptr<int64_t>();
  const PositiveIndex image_index(identity, image_identity.size(0));
  const ColumnGallery all_texts(text_identity, shape.query_rows, communicator.rank());

  RowRanks of_texts(texts.rows.identity, image_index);
  RowTops text_tops(unit_texts.size(), top);
  const UnitRows plain_texts(texts.rows, shape.width), plain_images(images.rows, shape.width);
  for_each_gallery_block(plain_images, shape, communicator, [&](const GalleryBlock& block) {
    of_texts.score_positives(plain_texts, block, ScoreRule(shape.width));
  });
  of_texts.begin_counting();
  const at::Tensor image_figures = at::empty({shape.gallery(), kFigures}, at::kDouble);
  BlockScorer scorer(unit_texts, 1);
  for_each_gallery_block(unit_images, shape, communicator, [&](const GalleryBlock& block) {
    ColumnRanks of_images(all_texts, identity + block.first, block.count);
    ColumnTops image_tops(block, top, shape.query_rows, communicator.rank());
    of_images.exchange_scores(of_texts.positive_scores(block), communicator);
    scorer.score(block, [&](int worker, int64_t first, int64_t count, float* scores) {
      for (int64_t q = 0; q < count; ++q) {
        of_texts.count(first + q, scores + q * kScoreStride, block);
        text_tops.consider(first + q, scores + q * kScoreStride, block);
      }
      of_images.count(worker, first, count, scores);
      image_tops.consider(worker, first, count, scores);
    });
    image_tops.mix(unit_texts, rule, communicator);
    of_images.write_figures(communicator, image_figures.mutable_data_ptr<double>() + block.first * kFigures,
                            &image_tops);
  });
  text_tops.end_considering();
  for_each_gallery_block(unit_images, shape, communicator,
                         [&](const GalleryBlock& block) { text_tops.mix(unit_texts, block, rule); });
  text_tops.sort();
  const at::Tensor text_figures =
      gather_rows(of_texts.figures(&text_tops), shape.query_rows, communicator, "retrieval.figures");
  return {mean_figures(text_figures, shape.gallery()), mean_figures(image_figures, text_identity.size(0))};
}

}  // namespace

BothDirections evaluate_retrieval(const EmbeddingRows& texts, const EmbeddingRows& images, Communicator& communicator) {
  check_identities(texts);
  check_identities(images);
  const RetrievalShape shape = agree_on_shape(texts, images, communicator);
  return evaluate_rows(texts, UnitRows(texts, shape.width), images, UnitRows(images, shape.width), shape,
                       ScoreRule(shape.width), communicator);
}

BothDirections evaluate_mixed(const MixedRows& texts, const MixedRows& images, int64_t top,
                              Communicator& communicator) {
  check_identities(texts.rows);
  check_identities(images.rows);
  const RetrievalShape shape = agree_on_shape(texts.rows, images.rows, communicator);
  const UnitRows unit_texts(texts.rows, shape.width, texts.second);
  const UnitRows unit_images(images.rows, shape.width, images.second);
  const at::Tensor image_weights = gather_rows(images.weight, shape.gallery_rows, communicator, "retrieval.weights");
  const ScoreRule rule(unit_texts.widths(), texts.weight, image_weights);
  const int64_t texts_of_all = std::accumulate(shape.query_rows.begin(), shape.query_rows.end(), int64_t{0});
  if (top > 0 && top < std::max(texts_of_all, shape.gallery())) {
    return evaluate_tops(texts, unit_texts, images, unit_images, shape, rule, top, communicator);
  }
  return evaluate_rows(texts.rows, unit_texts, images.rows, unit_images, shape, rule, communicator);
}

}  // namespace muster
