#include "trainer/retrieval/global_rows.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>

#include "launch/error.h"
#include "trainer/retrieval/score_kernel.h"

namespace muster {
namespace {

// What each rank tells the others about one side.
enum Field { kRows, kWidth, kNonFinite, kFields };

std::vector<double> inverse_norms(const at::Tensor& rows, int64_t width) {
  std::vector<double> norms(static_cast<size_t>(rows.size(0)));
  const auto* row = rows.const_data_ptr<float>();
  at::parallel_for(0, rows.size(0), 256, [&](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r) norms[static_cast<size_t>(r)] = inverse_norm(row + r * width, width);
  });
  return norms;
}

void describe(const EmbeddingRows& side, int64_t* fields) {
  const at::Tensor& features = side.features;
  if (features.dim() != 2 || features.scalar_type() != at::kFloat || !features.device().is_cpu()) {
    throw std::logic_error("retrieval: features must be a float32 matrix on the CPU");
  }
  fields[kRows] = features.size(0);
  fields[kWidth] = features.size(0) == 0 ? -1 : features.size(1);
  const std::vector<double> norms = inverse_norms(features.contiguous(), features.size(1));
  fields[kNonFinite] = std::count_if(norms.begin(), norms.end(), [](double norm) { return !std::isfinite(norm); });
}

// The one width of all sides that have rows.
int64_t common_width(const int64_t* widths, int64_t count) {
  int64_t width = -1;
  for (int64_t i = 0; i < count; ++i) {
    if (widths[i * kFields] < 0) continue;
    if (width >= 0 && widths[i * kFields] != width) {
      throw DataError(fmt::format(
          "retrieval: embeddings of width {} and of width {} cannot be compared; make both with the same model", width,
          widths[i * kFields]));
    }
    width = widths[i * kFields];
  }
  return std::max<int64_t>(width, 0);
}

// rows[r] of the global rows [first, first + count).
std::vector<int64_t> rows_within(const std::vector<int64_t>& rows, int64_t first, int64_t count) {
  std::vector<int64_t> within(rows.size());
  int64_t begin = 0;
  for (size_t r = 0; r < rows.size(); ++r) {
    const int64_t end = begin + rows[r];
    within[r] = std::max<int64_t>(0, std::min(end, first + count) - std::max(begin, first));
    begin = end;
  }
  return within;
}

int64_t sum(const std::vector<int64_t>& values, size_t count) {
  return std::accumulate(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(count), int64_t{0});
}

}  // namespace

int64_t RetrievalShape::gallery() const {
  return sum(gallery_rows, gallery_rows.size());
}

RetrievalShape agree_on_shape(const EmbeddingRows& queries, const EmbeddingRows& gallery, Communicator& communicator) {
  const auto size = static_cast<size_t>(communicator.size());
  const at::Tensor mine = at::zeros({1, 2 * kFields}, at::kLong);
  describe(queries, mine.mutable_data_ptr<int64_t>());
  describe(gallery, mine.mutable_data_ptr<int64_t>() + kFields);
  const at::Tensor all = gather_rows(mine, std::vector<int64_t>(size, 1), communicator, "retrieval.shape");
  const int64_t* fields = all.const_data_ptr<int64_t>();

  RetrievalShape shape;
  int64_t bad_queries = 0;
  int64_t bad_gallery = 0;
  for (size_t r = 0; r < size; ++r, fields += 2 * kFields) {
    shape.query_rows.push_back(fields[kRows]);
    shape.gallery_rows.push_back(fields[kFields + kRows]);
    bad_queries += fields[kNonFinite];
    bad_gallery += fields[kFields + kNonFinite];
  }
  shape.width = common_width(all.const_data_ptr<int64_t>() + kWidth, 2 * static_cast<int64_t>(size));
  if (bad_queries + bad_gallery > 0) {
    throw NonFiniteError(
        fmt::format("retrieval: {} of {} query rows and {} of {} gallery rows hold NaN or infinity; the embeddings are "
                    "unusable: look for the step where the loss or a gradient stopped being finite",
                    bad_queries, sum(shape.query_rows, size), bad_gallery, shape.gallery()));
  }
  return shape;
}

at::Tensor gather_rows(const at::Tensor& local, const std::vector<int64_t>& rows, Communicator& communicator,
                       const char* name) {
  std::vector<int64_t> sizes = local.sizes().vec();
  sizes[0] = sum(rows, rows.size());
  const at::Tensor all = at::empty(sizes, local.options());
  communicator.all_gather(all, local.contiguous(), rows, name).wait();
  return all;
}

UnitRows::UnitRows(const EmbeddingRows& rows, int64_t width)
    : UnitRows(rows, width, at::empty({rows.features.size(0), 0}, at::kFloat)) {}

UnitRows::UnitRows(const EmbeddingRows& rows, int64_t width, const at::Tensor& second)
    : features_(rows.features.contiguous()),
      second_(second.contiguous()),
      widths_{width, second.size(1)},
      scales_(rows.as_they_are ? std::vector<double>(static_cast<size_t>(features_.size(0)), 1.0)
                               : inverse_norms(features_, width)) {
  if (second.size(0) != features_.size(0)) throw std::logic_error("retrieval: not as many second rows as rows");
}

void UnitRows::copy(int64_t row, float* unit, size_t parts) const {
  scale_row(features_.const_data_ptr<float>() + row * widths_[0], scales_[static_cast<size_t>(row)], widths_[0], unit);
  if (parts > 1) std::copy_n(second(row), widths_[1], unit + widths_[0]);
}

void for_each_gallery_block(const UnitRows& local, const RetrievalShape& shape, Communicator& communicator,
                            const std::function<void(const GalleryBlock&)>& visit) {
  std::vector<int64_t> blocks;
  const int64_t gallery = shape.gallery();
  for (int64_t first = 0; first < gallery; first += kBlockRows) blocks.push_back(std::min(kBlockRows, gallery - first));
  for_each_gallery_block(local, shape, blocks, communicator, visit);
}

void for_each_gallery_block(const UnitRows& local, const RetrievalShape& shape, const std::vector<int64_t>& blocks,
                            Communicator& communicator, const std::function<void(const GalleryBlock&)>& visit) {
  const auto rank = static_cast<size_t>(communicator.rank());
  const int64_t my_first = sum(shape.gallery_rows, rank);
  const at::Tensor buffer = at::empty({std::min(kBlockRows, shape.gallery()), local.width()}, at::kFloat);
  auto* rows = buffer.mutable_data_ptr<float>();
  int64_t first = 0;
  for (const int64_t count : blocks) {
    const std::vector<int64_t> shares = rows_within(shape.gallery_rows, first, count);
    const int64_t offset = sum(shares, rank);
    for (int64_t i = 0; i < shares[rank]; ++i) {
      local.copy(first + offset + i - my_first, rows + (offset + i) * local.width());
    }
    if (communicator.size() > 1) {
      const at::Tensor block = buffer.narrow(0, 0, count);
      communicator.all_gather(block, block.narrow(0, offset, shares[rank]), shares, "retrieval.gallery").wait();
    }
    visit({first, count, rows});
    first += count;
  }
}

BlockScorer::BlockScorer(const UnitRows& queries, size_t parts)
    : queries_(queries),
      parts_(queries.widths()[1] > 0 ? parts : 1),
      panels_(static_cast<size_t>(kBlockRows * (parts_ == 1 ? queries.widths()[0] : queries.width()))) {}

void BlockScorer::score(const GalleryBlock& block, const VisitScores& visit) {
  const int64_t panels = (block.count + kPanelRows - 1) / kPanelRows;
  const int64_t width = queries_.width();
  // Of part 0, the rows, or part 1, their second rows.
  const auto panel = [&](size_t part, int64_t p) {
    return panels_.data() + (part == 0 ? 0 : kBlockRows * queries_.widths()[0]) +
           p * kPanelRows * queries_.widths()[part];
  };
  at::parallel_for(0, panels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const int64_t row = p * kPanelRows;
      for (size_t part = 0; part < parts_; ++part) {
        pack_panel(block.rows + row * width + (part == 0 ? 0 : queries_.widths()[0]), width,
                   std::min(kPanelRows, block.count - row), queries_.widths()[part], panel(part, p));
      }
    }
  });
  const int64_t stride = (parts_ == 1 ? queries_.widths()[0] : width) + 16;  // as kScoreStride
  const int64_t groups = (queries_.size() + kGroupRows - 1) / kGroupRows;
  at::parallel_for(0, groups, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> unit(static_cast<size_t>(kGroupRows * stride));
    std::vector<float> scores(parts_ * kTileScores);
    for (int64_t g = begin; g < end; ++g) {
      const int64_t first = g * kGroupRows;
      const int64_t count = std::min(kGroupRows, queries_.size() - first);
      for (int64_t q = 0; q < count; ++q) queries_.copy(first + q, unit.data() + q * stride, parts_);
      for (size_t part = 0; part < parts_; ++part) {
        for (int64_t p = 0; p < panels; ++p) {
          score_panel(unit.data() + (part == 0 ? 0 : queries_.widths()[0]), stride, queries_.widths()[part],
                      panel(part, p), scores.data() + part * kTileScores + p * kPanelRows, kScoreStride);
        }
      }
      visit(at::get_thread_num(), first, count, scores.data());
    }
  });
}

}  // namespace muster
