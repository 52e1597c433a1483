#include "trainer/evaluation.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "dataloader/evaluation_reader.h"
#include "dataloader/split_captions.h"
#include "dataloader/tokenizer.h"
#include "launch/error.h"

namespace muster {
namespace {

void add_captions(const Store& store, SplitEmbeddings& embeddings) {
  for (const int64_t image : embeddings.images) {
    for (int64_t i = 0; i < store.caption_count(image); ++i) {
      embeddings.captions.push_back(store.first_caption(image) + i);
      embeddings.caption_images.push_back(image);
    }
  }
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

// The labels of this rank's slice of some image numbers.
at::Tensor labels_of(const std::vector<int64_t>& images, Slice slice, const SplitEmbeddings& embeddings,
                     const Store& store) {
  at::Tensor labels = at::empty({slice.count}, at::kLong);
  std::transform(images.begin() + slice.first, images.begin() + slice.first + slice.count,
                 labels.mutable_data_ptr<int64_t>(), [&](int64_t image) { return embeddings.label(store, image); });
  return labels;
}

}  // namespace

InputSize input_size(const ModelConfig& model) {
  return {model.image().width_pixels(), model.image().height_pixels(), model.text().context()};
}

SplitEmbeddings embed_split(Model& model, const Store& store, Split split, const RunSettings& settings,
                            const Communicator& communicator, PositiveRule positives) {
  SplitEmbeddings embeddings;
  embeddings.images = store.images_of(split);
  embeddings.positives = positives;
  add_captions(store, embeddings);
  if (embeddings.captions.empty()) {
    throw DataError(fmt::format("{}: split {} has {} images and no captions, so nothing can be evaluated on it; {}",
                                store.path(), split_name(split), embeddings.images.size(),
                                splits_with_captions(store)));
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

  embeddings.image_rows.identity = labels_of(embeddings.images, images, embeddings, store);
  embeddings.text_rows.identity = labels_of(embeddings.caption_images, captions, embeddings, store);
  return embeddings;
}

EvaluationRecord evaluate_embeddings(const SplitEmbeddings& embeddings, Split split, int64_t step,
                                     Communicator& communicator) {
  EvaluationRecord record;
  record.step = step;
  record.split = split_name(split);
  record.positives = embeddings.positives == PositiveRule::kImage ? "image" : "identity";
  const BothDirections figures = evaluate_retrieval(embeddings.text_rows, embeddings.image_rows, communicator);
  record.text_to_image = figures.text_to_image;
  record.image_to_text = figures.image_to_text;
  return record;
}

}  // namespace muster
