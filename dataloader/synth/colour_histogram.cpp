#include "dataloader/synth/colour_histogram.h"

#include <ATen/ops/cholesky_solve.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_cholesky.h>
#include <ATen/ops/zeros.h>

#include "dataloader/image.h"

namespace muster::synth {
namespace {

constexpr int64_t kThirds = 3, kLevels = 4, kBins = kThirds * kLevels * kLevels * kLevels;
constexpr double kRidge = 10;

const auto kDoubles = at::TensorOptions(at::kDouble);

// The square roots of the colours' shares: distances between them are Hellinger's.
void fill_histogram(const StoreRecord& record, double* bins) {
  const Image image = decode_image(record.image.data(), record.image.size(), record.source_path);
  const int64_t pixels = int64_t{image.width} * image.height;
  for (int64_t i = 0; i < pixels; ++i) {
    int64_t bin = i / image.width * kThirds / image.height;
    for (int64_t c = 0; c < 3; ++c) bin = bin * kLevels + image.pixels[static_cast<size_t>(i * 3 + c)] * kLevels / 256;
    bins[bin] += 1.0 / static_cast<double>(pixels);
  }
  for (int64_t b = 0; b < kBins; ++b) bins[b] = std::sqrt(bins[b]);
}

}  // namespace

ColourHistogram::ColourHistogram(const Set& set, const std::vector<int64_t>& training,
                                 const std::vector<StoreRecord>& gallery) {
  const auto images = static_cast<int64_t>(training.size());
  std::vector<std::vector<int>> captions;
  const at::Tensor seen = at::zeros({images, kBins}, kDoubles);
  for (int64_t i = 0; i < images; ++i) {
    const StoreRecord record = set.record(training[static_cast<size_t>(i)]);
    fill_histogram(record, seen.data_ptr<double>() + i * kBins);
    for (const std::string& caption : record.captions) captions.push_back(words_.of(caption, false));
  }
  const auto rows = static_cast<int64_t>(captions.size());
  const int64_t per_image = rows / images;
  const at::Tensor told = at::zeros({rows, words_.count()}, kDoubles);
  for (int64_t r = 0; r < rows; ++r) {
    for (const int word : captions[static_cast<size_t>(r)]) told.data_ptr<double>()[r * words_.count() + word] = 1;
  }
  mean_ = seen.mean(0);
  const at::Tensor targets = seen.sub(mean_).repeat_interleave(per_image, 0);
  const at::Tensor gram = told.t().matmul(told).add(at::eye(words_.count(), kDoubles), kRidge);
  weights_ = at::cholesky_solve(told.t().matmul(targets), at::linalg_cholesky(gram));

  gallery_ = at::zeros({static_cast<int64_t>(gallery.size()), kBins}, kDoubles);
  for (size_t i = 0; i < gallery.size(); ++i) {
    fill_histogram(gallery[i], gallery_.data_ptr<double>() + static_cast<int64_t>(i) * kBins);
  }
  gallery_ = gallery_.sub(mean_);
  gallery_ = gallery_.div(gallery_.norm(2, 1, true));
}

std::vector<double> ColourHistogram::score(const std::string& caption) {
  at::Tensor predicted = at::zeros({kBins}, kDoubles);
  for (const int word : words_.of(caption, false, false)) predicted = predicted.add(weights_[word]);
  const at::Tensor scores = gallery_.matmul(predicted).contiguous();  // the query's own length moves no rank
  return {scores.data_ptr<double>(), scores.data_ptr<double>() + scores.numel()};
}

}  // namespace muster::synth
