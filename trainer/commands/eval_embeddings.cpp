#include "trainer/commands/eval_embeddings.h"

#include <fmt/format.h>

#include <memory>

#include "comm/make_communicator.h"
#include "dataloader/batch.h"
#include "dataloader/formats/safetensors.h"
#include "launch/error.h"
#include "trainer/commands/output_file.h"
#include "trainer/commands/run_setup.h"

namespace muster {
namespace {

// One side of the file: the whole identities, and this rank's rows.
struct FileSide {
  at::Tensor identity;
  EmbeddingRows own;

  NamedSide named() const {
    const auto* labels = identity.const_data_ptr<int64_t>();
    return {{labels, labels + identity.size(0)}, [labels](int64_t row) -> RowName {
              return {"", std::to_string(labels[row])};
            }};
  }
};

FileSide take_side(const NamedTensors& tensors, const std::string& features, const std::string& identity,
                   const std::string& path, const Communicator& communicator) {
  const at::Tensor& rows = find_tensor(tensors, features, path);
  const at::Tensor& ids = find_tensor(tensors, identity, path);
  if (rows.dim() != 2 || !rows.is_floating_point() || ids.dim() != 1 || ids.size(0) != rows.size(0) ||
      ids.scalar_type() != at::kLong) {
    throw DataError(
        fmt::format("{}: '{}' must be [n, width] floating point and '{}' [n] int64", path, features, identity));
  }
  const Slice own = slice_of(rows.size(0), {communicator.rank(), communicator.size()});
  return {ids.contiguous(),
          {rows.narrow(0, own.first, own.count).to(at::kFloat).contiguous(),
           ids.narrow(0, own.first, own.count).contiguous()}};
}

}  // namespace

void check_ranks_request(const RanksRequest& request, const std::vector<std::string>& inputs) {
  if (request.path.empty()) return;
  check_ranks_path(request.path);
  check_output_file("--ranks", request.path, inputs);
}

void write_all_ranks(const RanksRequest& request, const EmbeddingRows& image_rows, const NamedSide& images,
                     const EmbeddingRows& text_rows, const NamedSide& texts, Communicator& communicator) {
  const auto total_images = static_cast<int64_t>(images.labels.size());
  const auto total_texts = static_cast<int64_t>(texts.labels.size());
  const Ranking by_text =
      rank_queries(all_rows(total_texts), text_rows, total_texts, image_rows, request.top, communicator);
  const Ranking by_image =
      rank_queries(all_rows(total_images), image_rows, total_images, text_rows, request.top, communicator);
  if (communicator.rank() != 0) return;
  write_ranks(request.path, by_text, by_image, images, texts);
  fmt::print("{}: the best {} hits of {} captions and {} images\n", request.path, by_text.index.size(1), total_texts,
             total_images);
}

void evaluate_embeddings_file(const std::string& path, const RanksRequest& ranks, Process& process) {
  check_ranks_request(ranks, {path});
  start_computing(process, 0);
  const NamedTensors tensors = read_safetensors(path);
  const std::unique_ptr<Communicator> communicator = make_communicator(process, CommConfig());
  const FileSide images = take_side(tensors, "image", "image_identity", path, *communicator);
  const FileSide texts = take_side(tensors, "text", "text_identity", path, *communicator);
  const auto [text_to_image, image_to_text] = evaluate_retrieval(texts.own, images.own, *communicator);
  if (text_to_image.queries == 0 || image_to_text.queries == 0) {
    throw DataError(
        fmt::format("{}: no query has a positive in the gallery; check image_identity and text_identity", path));
  }
  if (!ranks.path.empty()) {
    write_all_ranks(ranks, images.own, images.named(), texts.own, texts.named(), *communicator);
  }
  if (process.rank() == 0) fmt::print("{}\n{}", path, format_retrieval_table(text_to_image, image_to_text));
}

}  // namespace muster
