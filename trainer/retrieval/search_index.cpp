#include "trainer/retrieval/search_index.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <c10/util/Half.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <limits>
#include <mutex>
#include <stdexcept>
#include <string>

#include "launch/error.h"
#include "trainer/retrieval/fixed_product.h"
#include "trainer/retrieval/panel_kernel.h"
#include "trainer/retrieval/score_kernel.h"

namespace muster {
namespace {

constexpr int64_t kPanelsAtOnce = 8;  // their scores stay in the first-level cache
constexpr int64_t kRowsAtOnce = 4096;
using Scores = std::array<float, kPanelsAtOnce * kPanelRows>;

// What the kernel could give without swapping, in bytes; 0 where it does not say.
double free_memory() {
  std::ifstream info("/proc/meminfo");
  std::string word;
  while (info >> word) {
    double kib = 0;
    if (word == "MemAvailable:" && info >> kib) return 1024 * kib;
  }
  return 0;
}

at::Tensor take_panels(int64_t rows, int64_t width, Storage storage) {
  if (rows > std::numeric_limits<uint32_t>::max()) {
    throw ConfigError(fmt::format("an index of {} rows: give fewer than 2^32", rows));
  }
  const bool half = storage == Storage::kFloat16;
  const int64_t panels = (rows + kPanelRows - 1) / kPanelRows;
  const double bytes = static_cast<double>(panels) * kPanelRows * static_cast<double>(width) * (half ? 2 : 4);
  const double free = free_memory();
  if (free > 0 && bytes > free) {
    throw ConfigError(
        fmt::format("an index of {} rows of width {} takes {:.4g} GB, this machine has {:.4g} GB of memory free; {}",
                    rows, width, 1e-9 * bytes, 1e-9 * free, half ? "take fewer rows" : "try float16, or fewer rows"));
  }
  return at::empty({panels, width, kPanelRows}, half ? at::kHalf : at::kFloat);
}

void store(float value, float* entry) {
  *entry = value;
}

// Rounded to nearest; infinity would make NaN of a product with 0.
void store(float value, c10::Half* entry) {
  constexpr float kLargest = 65504;
  *entry = c10::Half(std::clamp(value, -kLargest, kLargest));
}

// rows[0 .. count) become rows first .. first + count - 1 of the panels.
template <typename Entry>
void fill_panels(const float* rows, int64_t first, int64_t count, int64_t width, Entry* panels) {
  const int64_t last = first + count;
  at::parallel_for(first / kPanelRows, (last + kPanelRows - 1) / kPanelRows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      Entry* panel = panels + p * width * kPanelRows;
      for (int64_t row = std::max(first, p * kPanelRows); row < (p + 1) * kPanelRows; ++row) {
        const float* from = row < last ? rows + (row - first) * width : nullptr;
        Entry* lane = panel + row % kPanelRows;
        for (int64_t c = 0; c < width; ++c) store(from != nullptr ? from[c] : 0, lane + c * kPanelRows);
      }
    }
  });
}

void check_finite(const at::Tensor& rows, const char* what) {
  int64_t bad = 0;
  for (int64_t r = 0; r < rows.size(0); ++r) {
    const double norm = inverse_norm(rows.const_data_ptr<float>() + r * rows.size(1), rows.size(1));
    bad += std::isfinite(norm) ? 0 : 1;
  }
  if (bad == 0) return;
  throw NonFiniteError(
      fmt::format("search: {} of {} {} hold NaN or infinity; the embeddings are unusable: take an earlier checkpoint",
                  bad, rows.size(0), what));
}

// The best of all items: score(first panel, panels, scores) gives theirs.
template <typename Score>
std::vector<Hit> best_of(const PanelMatrix& rows, int64_t k, const Score& score) {
  if (k < 1) throw std::logic_error("SearchIndex: k must be at least 1");
  std::vector<Hit> found;
  std::mutex mutex;
  at::parallel_for(0, rows.panels(), 1, [&](int64_t begin, int64_t end) {
    BestHits best(static_cast<size_t>(std::min(k, rows.size())));
    Scores scores;
    std::array<uint32_t, std::tuple_size_v<Scores>> found_rows;
    for (int64_t p = begin; p < end; p += kPanelsAtOnce) {
      const int64_t some = std::min(kPanelsAtOnce, end - p), first = p * kPanelRows;
      score(p, some, scores.data());
      const int64_t greater = find_greater(scores.data(), std::min(some * kPanelRows, rows.size() - first),
                                           best.threshold(), found_rows.data());
      for (int64_t i = 0; i < greater; ++i) {
        const uint32_t row = found_rows[static_cast<size_t>(i)];
        best.add(scores[row], static_cast<uint32_t>(first) + row);
      }
    }
    const std::vector<Hit> own = best.take();
    const std::lock_guard<std::mutex> lock(mutex);
    found.insert(found.end(), own.begin(), own.end());
  });
  std::sort(found.begin(), found.end(), better);
  found.resize(std::min(found.size(), static_cast<size_t>(k)));
  return found;
}

}  // namespace

PanelMatrix::PanelMatrix(int64_t rows, int64_t width, Storage storage)
    : width_(width), stored_(take_panels(rows, width, storage)) {}

int64_t PanelMatrix::panels() const {
  return (size_ + kPanelRows - 1) / kPanelRows;
}

void PanelMatrix::add(const at::Tensor& rows) {
  const at::Tensor given = rows.contiguous();
  const int64_t count = given.size(0);
  if (given.dim() != 2 || given.size(1) != width_ || given.scalar_type() != at::kFloat ||
      size_ + count > stored_.size(0) * kPanelRows) {
    throw std::logic_error("PanelMatrix::add: rows of another width or type, or more than there is room for");
  }
  const auto* from = given.const_data_ptr<float>();
  if (stored_.scalar_type() == at::kHalf) {
    fill_panels(from, size_, count, width_, stored_.mutable_data_ptr<c10::Half>());
  } else {
    fill_panels(from, size_, count, width_, stored_.mutable_data_ptr<float>());
  }
  size_ += count;
}

void PanelMatrix::score(const float* query, int64_t first, int64_t count, float* scores) const {
  const int64_t offset = first * width_ * kPanelRows;
  if (stored_.scalar_type() == at::kHalf) {
    static_assert(sizeof(c10::Half) == sizeof(uint16_t));
    const void* panels = stored_.const_data_ptr<c10::Half>() + offset;
    score_query(query, width_, static_cast<const uint16_t*>(panels), count, scores);
  } else {
    score_query(query, width_, stored_.const_data_ptr<float>() + offset, count, scores);
  }
}

void PanelMatrix::copy(int64_t row, float* values) const {
  const int64_t first = row / kPanelRows * width_ * kPanelRows + row % kPanelRows;
  for (int64_t c = 0; c < width_; ++c) {
    const int64_t place = first + c * kPanelRows;
    values[c] = stored_.scalar_type() == at::kHalf ? static_cast<float>(stored_.const_data_ptr<c10::Half>()[place])
                                                   : stored_.const_data_ptr<float>()[place];
  }
}

void SearchIndex::add(const at::Tensor& features) {
  const at::Tensor rows = features.contiguous();
  check_finite(rows, "gallery rows");
  for (int64_t first = 0; first < rows.size(0); first += kRowsAtOnce) {
    rows_.add(unit_matrix(rows.narrow(0, first, std::min(kRowsAtOnce, rows.size(0) - first))));
  }
}

void SearchIndex::add_second(const at::Tensor& second) {
  if (second_.empty()) {
    const bool half = rows_.stored().scalar_type() == at::kHalf;
    second_.emplace_back(rows_.stored().size(0) * kPanelRows, second.size(1),
                         half ? Storage::kFloat16 : Storage::kFloat32);
  }
  second_.front().add(second);
}

std::vector<Hit> SearchIndex::search(const at::Tensor& query, int64_t k) const {
  const at::Tensor row = query.reshape({1, rows_.width()}).contiguous();
  check_finite(row, "queries");
  const at::Tensor unit = unit_matrix(row);
  const auto* values = unit.const_data_ptr<float>();
  return best_of(rows_, k,
                 [&](int64_t first, int64_t count, float* scores) { rows_.score(values, first, count, scores); });
}

std::vector<Hit> SearchIndex::search_mixed(const at::Tensor& query, const Mixed& mixed, int64_t k) const {
  if (second_.empty() || second_.front().size() != rows_.size()) {
    throw std::logic_error("SearchIndex::search_mixed: not as many second rows as rows");
  }
  if (mixed.among > 0 && mixed.among < size()) return search_among(query, mixed, k);
  const PanelMatrix& others = second_.front();
  const at::Tensor row = query.reshape({1, rows_.width()}).contiguous();
  check_finite(row, "queries");
  const at::Tensor unit = unit_matrix(row), second = mixed.second.reshape({others.width()}).contiguous();
  const Scores unused{};
  return best_of(rows_, k, [&](int64_t first, int64_t count, float* scores) {
    Scores more;
    rows_.score(unit.const_data_ptr<float>(), first, count, scores);
    others.score(second.const_data_ptr<float>(), first, count, more.data());
    mix_scores(scores, more.data(), count * kPanelRows, mixed.weights[0], mixed.weights[1], unused.data(),
               unused.data());
  });
}

std::vector<Hit> SearchIndex::search_among(const at::Tensor& query, const Mixed& mixed, int64_t k) const {
  const PanelMatrix& others = second_.front();
  const at::Tensor second = mixed.second.reshape({others.width()}).contiguous();
  std::vector<Hit> hits = search(query, std::max(k, mixed.among));
  const auto last = hits.begin() + std::min(mixed.among, static_cast<int64_t>(hits.size()));
  std::vector<float> row(static_cast<size_t>(others.width()));
  const float* rows[] = {row.data()};
  for (auto hit = hits.begin(); hit != last; ++hit) {
    others.copy(hit->item, row.data());
    float product = 0;
    lane_products(second.const_data_ptr<float>(), rows, 1, others.width(), &product);
    hit->score = std::fma(mixed.weights[1], product, mixed.weights[0] * hit->score);
  }
  std::sort(hits.begin(), last, better);
  hits.resize(std::min(hits.size(), static_cast<size_t>(k)));
  return hits;
}

}  // namespace muster
