#include "trainer/retrieval/identity_means.h"

#include <ATen/ops/empty.h>

#include <numeric>
#include <vector>

#include "trainer/retrieval/global_rows.h"
#include "trainer/retrieval/positive_index.h"

namespace muster {

EmbeddingRows identity_means(const EmbeddingRows& rows, Communicator& communicator) {
  const RetrievalShape shape = agree_on_shape(rows, rows, communicator);
  const at::Tensor all = gather_rows(rows.identity, shape.gallery_rows, communicator, "retrieval.identity");
  const auto* identity = all.const_data_ptr<int64_t>();
  const PositiveIndex index(identity, all.size(0));
  const std::vector<int64_t> shares = split_rows(index.identities(), communicator.size());
  const int64_t first = std::accumulate(shares.begin(), shares.begin() + communicator.rank(), int64_t{0});
  const int64_t count = shares[static_cast<size_t>(communicator.rank())];
  const auto width = static_cast<size_t>(shape.width);
  std::vector<double> sums(static_cast<size_t>(count) * width);
  for_each_gallery_block(UnitRows(rows, shape.width), shape, communicator, [&](const GalleryBlock& block) {
    for (int64_t r = 0; r < block.count; ++r) {
      const int64_t number = index.number(identity[block.first + r]) - first;
      if (number < 0 || number >= count) continue;
      double* sum = sums.data() + static_cast<size_t>(number) * width;
      const float* row = block.rows + r * shape.width;
      for (size_t c = 0; c < width; ++c) sum[c] += static_cast<double>(row[c]);
    }
  });
  EmbeddingRows means{at::empty({count, shape.width}, at::kFloat), at::empty({count}, at::kLong), true};
  auto* mean = means.features.mutable_data_ptr<float>();
  for (int64_t i = 0; i < count; ++i) {
    const PositiveIndex::Span members = index.of_number(first + i);
    means.identity.mutable_data_ptr<int64_t>()[i] = identity[*members.first];
    const double* sum = sums.data() + static_cast<size_t>(i) * width;
    for (size_t c = 0; c < width; ++c) *mean++ = static_cast<float>(sum[c] / static_cast<double>(members.size()));
  }
  return means;
}

}  // namespace muster
