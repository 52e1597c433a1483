#include "trainer/evaluation.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "dataloader/evaluation_reader.h"
#include "dataloader/tokenizer.h"
#include "launch/error.h"

namespace muster {
namespace {

std::vector<int64_t> captions_of(const Store& store, const std::vector<int64_t>& images) {
  std::vector<int64_t> captions;
  for (const int64_t image : images) {
    for (int64_t i = 0; i < store.caption_count(image); ++i) captions.push_back(store.first_caption(image) + i);
  }
  return captions;
}

// The identity of each caption: that of its image.
std::vector<int64_t> identities_of_captions(const Store& store, const std::vector<int64_t>& images) {
  std::vector<int64_t> identities;
  for (const int64_t image : images) {
    identities.insert(identities.end(), static_cast<size_t>(store.caption_count(image)), store.identity(image));
  }
  return identities;
}

// encode(numbers) of this rank's slice of `all`, `batch` rows at a time; [n, width].
template <typename Encode>
at::Tensor embed_rows(const std::vector<int64_t>& all, Slice slice, int64_t batch, int64_t width,
                      const Encode& encode) {
  std::vector<at::Tensor> parts = {at::empty({0, width}, at::kFloat)};
  for (int64_t done = 0; done < slice.count; done += batch) {
    const auto begin = all.begin() + slice.first + done;
    parts.push_back(encode(std::vector<int64_t>(begin, begin + std::min(batch, slice.count - done))).to(at::kFloat));
  }
  return at::cat(parts);
}

at::Tensor take_slice(const std::vector<int64_t>& all, Slice slice) {
  at::Tensor rows = at::empty({slice.count}, at::kLong);
  std::copy_n(all.begin() + slice.first, slice.count, rows.mutable_data_ptr<int64_t>());
  return rows;
}

}  // namespace

InputSize input_size(const ModelConfig& model) {
  return {model.image().width_pixels(), model.image().height_pixels(), model.text().context()};
}

SplitEmbeddings embed_split(Model& model, const Store& store, Split split, const RunSettings& settings,
                            const Communicator& communicator) {
  SplitEmbeddings embeddings;
  embeddings.images = store.images_of(split);
  embeddings.captions = captions_of(store, embeddings.images);
  if (embeddings.captions.empty()) {
    throw DataError(fmt::format("{}: split {} has {} images and no captions, so nothing can be evaluated on it",
                                store.path(), split_name(split), embeddings.images.size()));
  }
  const std::unique_ptr<Tokenizer> tokenizer = make_tokenizer(settings.data.tokenizer());
  const EvaluationReader reader(store, settings.data, input_size(settings.model), *tokenizer);
  const Shard shard{communicator.rank(), communicator.size()};
  const Slice images = slice_of(static_cast<int64_t>(embeddings.images.size()), shard);
  const Slice captions = slice_of(static_cast<int64_t>(embeddings.captions.size()), shard);
  const int64_t batch = settings.train.evaluation().batch(), width = settings.model.joint_width();

  const at::NoGradGuard no_grad;
  const bool was_training = model.is_training();
  model.eval();
  embeddings.image_rows.features = embed_rows(embeddings.images, images, batch, width, [&](const auto& numbers) {
    return model.encode_image(reader.images(numbers));
  });
  embeddings.text_rows.features = embed_rows(embeddings.captions, captions, batch, width, [&](const auto& numbers) {
    return model.encode_text(reader.tokens(numbers));
  });
  model.train(was_training);

  std::vector<int64_t> identities;
  for (const int64_t image : embeddings.images) identities.push_back(store.identity(image));
  embeddings.image_rows.identity = take_slice(identities, images);
  embeddings.text_rows.identity = take_slice(identities_of_captions(store, embeddings.images), captions);
  return embeddings;
}

EvaluationRecord evaluate_embeddings(const SplitEmbeddings& embeddings, Split split, int64_t step,
                                     Communicator& communicator) {
  EvaluationRecord record;
  record.step = step;
  record.split = split_name(split);
  record.text_to_image = evaluate_retrieval(embeddings.text_rows, embeddings.image_rows, communicator);
  record.image_to_text = evaluate_retrieval(embeddings.image_rows, embeddings.text_rows, communicator);
  return record;
}

}  // namespace muster
