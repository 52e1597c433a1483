#include "trainer/retrieval/ndcg.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "trainer/retrieval/best_hits.h"
#include "trainer/retrieval/global_rows.h"

namespace muster {
namespace {

// Relevances in the order of the items, best-ranked first.
double discounted_gain(const std::vector<float>& relevances) {
  double sum = 0;
  for (size_t i = 0; i < relevances.size(); ++i) {
    sum += (std::exp2(static_cast<double>(relevances[i])) - 1) / std::log2(static_cast<double>(i) + 2);
  }
  return sum;
}

// The largest ones, in any order before.
double normalised(const std::vector<float>& found, std::vector<float> largest) {
  std::sort(largest.begin(), largest.end(), std::greater<>());
  const double ideal = discounted_gain(largest);
  return ideal > 0 ? discounted_gain(found) / ideal : 0;
}

int64_t first_of(const std::vector<int64_t>& rows, int rank) {
  return std::accumulate(rows.begin(), rows.begin() + rank, int64_t{0});
}
int64_t sum_of(const std::vector<int64_t>& rows) {
  return std::accumulate(rows.begin(), rows.end(), int64_t{0});
}

std::vector<double> of_texts(const RelevanceFile& file, const at::Tensor& best, const NdcgScope& scope, int rank) {
  const int64_t images = sum_of(scope.image_rows), first = scope.first_caption + first_of(scope.caption_rows, rank);
  const at::Tensor items = best.contiguous();
  const auto* item = items.const_data_ptr<int64_t>();
  std::vector<float> row(static_cast<size_t>(images)), found, largest;
  std::vector<double> values;
  for (int64_t q = 0; q < items.size(0); ++q) {
    file.read(first + q, scope.first_image, images, row.data());
    found.clear();
    for (int64_t i = 0; i < items.size(1); ++i) found.push_back(row[static_cast<size_t>(*item++)]);
    largest = row;
    const auto kept = static_cast<std::ptrdiff_t>(std::min(images, kNdcgItems));
    std::partial_sort(largest.begin(), largest.begin() + kept, largest.end(), std::greater<>());
    largest.resize(static_cast<size_t>(kept));
    values.push_back(normalised(found, largest));
  }
  return values;
}

std::vector<double> of_images(const RelevanceFile& file, const at::Tensor& best, const NdcgScope& scope, int rank) {
  const int64_t captions = sum_of(scope.caption_rows), first = scope.first_image + first_of(scope.image_rows, rank);
  const at::Tensor items = best.contiguous();
  const int64_t images = items.size(0), kept = items.size(1);
  std::vector<BestHits> largest(static_cast<size_t>(images), BestHits(static_cast<size_t>(kNdcgItems)));
  // Where each caption is among the images' best: (caption, place in `found`), ascending.
  std::vector<std::pair<int64_t, size_t>> places;
  const auto* item = items.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < images * kept; ++i) places.emplace_back(item[i], static_cast<size_t>(i));
  std::sort(places.begin(), places.end());
  std::vector<float> found(places.size()), row(static_cast<size_t>(images));
  auto place = places.begin();
  for (int64_t caption = 0; images > 0 && caption < captions; ++caption) {
    file.read(scope.first_caption + caption, first, images, row.data());
    for (int64_t i = 0; i < images; ++i) {
      largest[static_cast<size_t>(i)].add(row[static_cast<size_t>(i)], static_cast<uint32_t>(caption));
    }
    for (; place != places.end() && place->first == caption; ++place) {
      found[place->second] = row[place->second / static_cast<size_t>(kept)];
    }
  }
  std::vector<double> values;
  for (int64_t i = 0; i < images; ++i) {
    std::vector<float> best_of_column;
    for (const Hit& hit : largest[static_cast<size_t>(i)].take()) best_of_column.push_back(hit.score);
    const auto begin = found.begin() + i * kept;
    values.push_back(normalised({begin, begin + kept}, best_of_column));
  }
  return values;
}

std::vector<double> gather(const std::vector<double>& own, const std::vector<int64_t>& rows,
                           Communicator& communicator) {
  const at::Tensor mine = at::empty({static_cast<int64_t>(own.size())}, at::kDouble);
  std::copy(own.begin(), own.end(), mine.mutable_data_ptr<double>());
  const at::Tensor all = gather_rows(mine, rows, communicator, "retrieval.ndcg");
  return {all.const_data_ptr<double>(), all.const_data_ptr<double>() + all.size(0)};
}

double mean(const std::vector<double>& values) {
  return values.empty() ? 0 : std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

}  // namespace

Ndcg ndcg(const RelevanceFile& file, const BestItems& best, const NdcgScope& scope, Communicator& communicator) {
  const int rank = communicator.rank();
  const std::vector<double> texts =
      gather(of_texts(file, best.of_texts, scope, rank), scope.caption_rows, communicator);
  std::vector<double> images = gather(of_images(file, best.of_images, scope, rank), scope.image_rows, communicator);
  images.erase(std::remove(images.begin(), images.end(), 0.0), images.end());
  return {mean(texts), mean(images)};
}

}  // namespace muster
