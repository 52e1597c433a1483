#include "trainer/feature_rows.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>

#include <numeric>

namespace muster {
namespace {

Slice rows_of(const std::vector<int64_t>& sizes, Slice samples) {
  const auto begin = sizes.begin() + samples.first;
  return {std::accumulate(sizes.begin(), begin, int64_t{0}), std::accumulate(begin, begin + samples.count, int64_t{0})};
}

std::vector<int64_t> part_of(const std::vector<int64_t>& sizes, Slice samples) {
  const auto begin = sizes.begin() + samples.first;
  return {begin, begin + samples.count};
}

at::Tensor join(const std::vector<at::Tensor>& parts) {
  if (parts.size() == 1) return parts[0].detach();
  const at::NoGradGuard no_grad;
  return at::cat(parts);
}

// One side of a pair, of all parts.
struct Side {
  at::Tensor rows;
  std::vector<int64_t> sizes;  // of samples with sets
};

Side join_side(const std::vector<const Features*>& parts, size_t pair, at::Tensor FeaturePair::*side,
               std::vector<int64_t> SetSizes::*of_side) {
  Side joined;
  std::vector<at::Tensor> rows;
  for (const Features* part : parts) {
    const FeaturePair& of_part = part->pairs[pair];
    rows.push_back(of_part.*side);
    if (!of_part.sets) continue;
    const std::vector<int64_t>& sizes = *of_part.sets.*of_side;
    joined.sizes.insert(joined.sizes.end(), sizes.begin(), sizes.end());
  }
  joined.rows = join(rows);
  return joined;
}

}  // namespace

Slice image_rows(const FeaturePair& pair, Slice samples) {
  return pair.sets ? rows_of(pair.sets->image, samples) : samples;
}

Slice text_rows(const FeaturePair& pair, Slice samples) {
  return pair.sets ? rows_of(pair.sets->text, samples) : samples;
}

FeaturePair part_of(const FeaturePair& pair, Slice samples) {
  const Slice image = image_rows(pair, samples), text = text_rows(pair, samples);
  FeaturePair part{pair.name, pair.image.narrow(0, image.first, image.count),
                   pair.text.narrow(0, text.first, text.count)};
  if (pair.sets) part.sets = {part_of(pair.sets->image, samples), part_of(pair.sets->text, samples)};
  return part;
}

Features join_texts(const std::vector<const Features*>& parts) {
  Features joined;
  for (size_t pair = 0; pair < parts.front()->pairs.size(); ++pair) {
    Side side = join_side(parts, pair, &FeaturePair::text, &SetSizes::text);
    const FeaturePair& first = parts.front()->pairs[pair];
    joined.pairs.push_back({first.name, {}, side.rows});
    if (first.sets) joined.pairs.back().sets = {{}, std::move(side.sizes)};
  }
  return joined;
}

void add_images(const std::vector<const Features*>& parts, Features& texts) {
  for (size_t pair = 0; pair < texts.pairs.size(); ++pair) {
    Side side = join_side(parts, pair, &FeaturePair::image, &SetSizes::image);
    texts.pairs[pair].image = side.rows;
    if (texts.pairs[pair].sets) texts.pairs[pair].sets->image = std::move(side.sizes);
  }
}

}  // namespace muster
