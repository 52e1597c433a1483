#include "trainer/evaluation.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <set>

#include "dataloader/evaluation_reader.h"
#include "dataloader/split_captions.h"
#include "launch/error.h"
#include "trainer/losses/objective.h"
#include "trainer/model_tokenizer.h"
#include "trainer/retrieval/identity_means.h"
#include "trainer/retrieval/ndcg.h"

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

bool ranks_sets(const RunSettings& settings) {
  return settings.train.evaluation().pair() == kSetPair;
}

void check_classes(const Store& store, Split split, const std::vector<int64_t>& images) {
  std::set<int64_t> classes;
  for (const int64_t image : images) classes.insert(store.identity(image));
  if (classes.size() < images.size()) return;
  throw DataError(
      fmt::format("{}: each of the {} images of split {} is the only one of its identity, so there are no classes; "
                  "import the set with an identity column, or leave out --positives class",
                  store.path(), images.size(), split_name(split)));
}

// Evaluation mode, without graphs, for as long as it lives.
class Evaluating {
 public:
  explicit Evaluating(Model& model) : model_(model), was_training_(model.is_training()) { model.eval(); }
  ~Evaluating() { model_.train(was_training_); }
  Evaluating(const Evaluating&) = delete;
  Evaluating& operator=(const Evaluating&) = delete;

 private:
  const at::NoGradGuard no_grad_;
  Model& model_;
  bool was_training_;
};

// encode(numbers), some of them at a time; [n, width].
template <typename Encode>
at::Tensor embed_rows(const std::vector<int64_t>& numbers, const RunSettings& settings, const Encode& encode) {
  const auto total = static_cast<int64_t>(numbers.size());
  const int64_t batch = settings.train.evaluation().batch();
  std::vector<at::Tensor> parts = {at::empty({0, embedding_width(settings.model)}, at::kFloat)};
  for (int64_t done = 0; done < total; done += batch) {
    const auto begin = numbers.begin() + done;
    parts.push_back(encode(std::vector<int64_t>(begin, begin + std::min(batch, total - done))));
  }
  return at::cat(parts);
}

// encode(numbers) as SetOutputs: the rows of the pair "global", and to `sets` all others.
template <typename Encode>
at::Tensor embed_sets(const std::vector<int64_t>& numbers, const RunSettings& settings, const Encode& encode,
                      EmbeddingSets& sets) {
  std::vector<at::Tensor> parts = {at::empty({0, embedding_width(settings.model)}, at::kFloat)};
  const at::Tensor global = embed_rows(numbers, settings, [&](const auto& some) {
    SetOutputs outputs = encode(some);
    parts.push_back(outputs.set.rows.to(at::kCPU, at::kFloat));
    sets.sizes.insert(sets.sizes.end(), outputs.set.sizes.begin(), outputs.set.sizes.end());
    return outputs.global.to(at::kCPU, at::kFloat);
  });
  sets.features = at::cat(parts);
  return global;
}

std::vector<int64_t> part_of(const std::vector<int64_t>& all, Slice slice) {
  return {all.begin() + slice.first, all.begin() + slice.first + slice.count};
}

// The labels of this rank's slice of some image numbers.
at::Tensor labels_of(const std::vector<int64_t>& images, Slice slice, const SplitEmbeddings& embeddings,
                     const Store& store) {
  at::Tensor labels = at::empty({slice.count}, at::kLong);
  std::transform(images.begin() + slice.first, images.begin() + slice.first + slice.count,
                 labels.mutable_data_ptr<int64_t>(), [&](int64_t image) { return embeddings.label(store, image); });
  return labels;
}

// A fold's captions and images, and which of this rank's rows they are.
struct FoldRows {
  NdcgScope scope;
  Slice captions, images;
};

// Where [first, last) of the whole and this rank's rows meet, counted among those.
Slice meet(int64_t first, int64_t last, Slice own) {
  const int64_t begin = std::clamp(first, own.first, own.first + own.count);
  const int64_t end = std::clamp(last, own.first, own.first + own.count);
  return {begin - own.first, end - begin};
}

FoldRows fold_of(const SplitEmbeddings& embeddings, int64_t fold, int64_t folds, const Communicator& communicator) {
  const auto images = static_cast<int64_t>(embeddings.images.size());
  const auto captions = static_cast<int64_t>(embeddings.captions.size());
  const int64_t first = fold * (images / folds), last = first + images / folds;
  // Captions come by images, in the images' order.
  int64_t first_caption = 0, last_caption = 0;
  for (int64_t image = 0, caption = 0; image <= images; ++image) {
    if (image == first) first_caption = caption;
    if (image == last) last_caption = caption;
    while (image < images && caption < captions &&
           embeddings.caption_images[static_cast<size_t>(caption)] == embeddings.images[static_cast<size_t>(image)]) {
      ++caption;
    }
  }
  FoldRows rows;
  rows.scope.first_caption = first_caption;
  rows.scope.first_image = first;
  for (int rank = 0; rank < communicator.size(); ++rank) {
    const Shard shard{rank, communicator.size()};
    const Slice own_captions = meet(first_caption, last_caption, slice_of(captions, shard));
    const Slice own_images = meet(first, last, slice_of(images, shard));
    rows.scope.caption_rows.push_back(own_captions.count);
    rows.scope.image_rows.push_back(own_images.count);
    if (rank != communicator.rank()) continue;
    rows.captions = own_captions;
    rows.images = own_images;
  }
  return rows;
}

EmbeddingRows rows_of(const EmbeddingRows& all, Slice part) {
  return {all.features.narrow(0, part.first, part.count), all.identity.narrow(0, part.first, part.count),
          all.as_they_are};
}

EmbeddingSets sets_of(const EmbeddingSets& all, Slice part) {
  const auto begin = all.sizes.begin() + part.first, end = begin + part.count;
  const int64_t first = std::accumulate(all.sizes.begin(), begin, int64_t{0});
  return {all.features.narrow(0, first, std::accumulate(begin, end, int64_t{0})),
          {begin, end},
          all.identity.narrow(0, part.first, part.count)};
}

// Figures, and with `best` the best items of each query.
BothDirections evaluate_fold(const SplitEmbeddings& embeddings, const FoldRows& rows, BestItems* best,
                             Communicator& communicator) {
  if (embeddings.sets) {
    return evaluate_sets(sets_of(embeddings.sets->texts, rows.captions), sets_of(embeddings.sets->images, rows.images),
                         embeddings.sets->alignment, communicator, best);
  }
  if (embeddings.positives == PositiveRule::kClass) {
    return evaluate_retrieval(embeddings.text_rows, embeddings.image_rows, communicator);
  }
  const EmbeddingRows texts = rows_of(embeddings.text_rows, rows.captions);
  const EmbeddingRows images = rows_of(embeddings.image_rows, rows.images);
  if (best != nullptr) {
    best->of_texts = top_k(texts, images, kNdcgItems, communicator).index;
    best->of_images = top_k(images, texts, kNdcgItems, communicator).index;
  }
  return evaluate_retrieval(texts, images, communicator);
}

}  // namespace

InputSize input_size(const ModelConfig& model) {
  return {model.image().width_pixels(), model.image().height_pixels(), model.text().context(),
          has_sets(model) ? model.regions().width() : 0};
}

at::Tensor embed_images(Model& model, const EvaluationReader& reader, const std::vector<int64_t>& numbers,
                        const RunSettings& settings) {
  const Evaluating evaluating(model);
  return embed_rows(numbers, settings,
                    [&](const auto& some) { return model.encode_image(reader.images(some)).to(at::kCPU, at::kFloat); });
}

at::Tensor embed_tokens(Model& model, const at::Tensor& tokens) {
  const Evaluating evaluating(model);
  return model.encode_text(tokens).to(at::kCPU, at::kFloat);
}

SplitEmbeddings embed_split(Model& model, const Store& store, Split split, const RunSettings& settings,
                            Communicator& communicator, PositiveRule positives) {
  SplitEmbeddings embeddings;
  embeddings.images = store.images_of(split);
  embeddings.positives = positives;
  add_captions(store, embeddings);
  if (embeddings.captions.empty()) {
    throw DataError(fmt::format("{}: split {} has {} images and no captions, so nothing can be evaluated on it; {}",
                                store.path(), split_name(split), embeddings.images.size(),
                                splits_with_captions(store)));
  }
  if (positives == PositiveRule::kClass && ranks_sets(settings)) {
    throw ConfigError(
        "--positives class takes the mean of a class's captions, which sets of words have none of; leave it out, or "
        "train with train.evaluation.pair \"global\"");
  }
  if (positives == PositiveRule::kClass) check_classes(store, split, embeddings.images);
  const std::unique_ptr<Tokenizer> tokenizer = make_model_tokenizer(settings.data, settings.model);
  const EvaluationReader reader(store, settings.data, input_size(settings.model), *tokenizer);
  const Shard shard{communicator.rank(), communicator.size()};
  const Slice images = slice_of(static_cast<int64_t>(embeddings.images.size()), shard);
  const Slice captions = slice_of(static_cast<int64_t>(embeddings.captions.size()), shard);
  const std::vector<int64_t> own_images = part_of(embeddings.images, images);
  const std::vector<int64_t> own_captions = part_of(embeddings.captions, captions);
  if (ranks_sets(settings)) {
    const Evaluating evaluating(model);
    SplitEmbeddings::Sets& sets = embeddings.sets.emplace();
    sets.alignment = make_alignment(settings.objective.alignment());
    embeddings.image_rows.features = embed_sets(
        own_images, settings, [&](const auto& some) { return model.encode_image_sets(reader.images(some)); },
        sets.images);
    embeddings.text_rows.features = embed_sets(
        own_captions, settings, [&](const auto& some) { return model.encode_text_sets(reader.tokens(some)); },
        sets.texts);
  } else {
    embeddings.image_rows.features = embed_images(model, reader, own_images, settings);
    embeddings.text_rows.features =
        embed_rows(own_captions, settings, [&](const auto& some) { return embed_tokens(model, reader.tokens(some)); });
  }

  embeddings.image_rows.identity = labels_of(embeddings.images, images, embeddings, store);
  embeddings.text_rows.identity = labels_of(embeddings.caption_images, captions, embeddings, store);
  if (embeddings.sets) {
    embeddings.sets->images.identity = embeddings.image_rows.identity;
    embeddings.sets->texts.identity = embeddings.text_rows.identity;
  }
  if (positives == PositiveRule::kClass) embeddings.text_rows = identity_means(embeddings.text_rows, communicator);
  return embeddings;
}

std::string positives_name(PositiveRule rule) {
  switch (rule) {
    case PositiveRule::kIdentity:
      return "identity";
    case PositiveRule::kImage:
      return "image";
    case PositiveRule::kClass:
      return "class";
  }
  return "";
}

void check_folds(int64_t folds, int64_t images, Split split) {
  if (folds >= 1 && images % folds == 0) return;
  throw ConfigError(fmt::format("--folds {} does not divide the {} images of split {} into equal parts", folds, images,
                                split_name(split)));
}

EvaluationRecord evaluate_embeddings(const SplitEmbeddings& embeddings, Split split, int64_t step,
                                     Communicator& communicator, const EvaluationProtocol& protocol) {
  const auto images = static_cast<int64_t>(embeddings.images.size());
  check_folds(protocol.folds, images, split);
  if (embeddings.positives == PositiveRule::kClass && (protocol.folds > 1 || !protocol.relevances.empty())) {
    throw ConfigError("--folds and --relevance are of captions; leave out --positives class");
  }
  EvaluationRecord record;
  record.step = step;
  record.split = split_name(split);
  record.positives = positives_name(embeddings.positives);
  record.folds = protocol.folds;
  for (const NamedRelevances& one : protocol.relevances) record.ndcg.push_back({one.name, 0, 0});
  std::vector<RetrievalMetrics> texts, of_images;
  for (int64_t fold = 0; fold < protocol.folds; ++fold) {
    const FoldRows rows = fold_of(embeddings, fold, protocol.folds, communicator);
    BestItems best;
    const BothDirections figures =
        evaluate_fold(embeddings, rows, protocol.relevances.empty() ? nullptr : &best, communicator);
    texts.push_back(figures.text_to_image);
    of_images.push_back(figures.image_to_text);
    for (size_t i = 0; i < protocol.relevances.size(); ++i) {
      const Ndcg one = ndcg(*protocol.relevances[i].file, best, rows.scope, communicator);
      record.ndcg[i].text_to_image += one.text_to_image / static_cast<double>(protocol.folds);
      record.ndcg[i].image_to_text += one.image_to_text / static_cast<double>(protocol.folds);
    }
  }
  record.text_to_image = mean_of(texts);
  record.image_to_text = mean_of(of_images);
  return record;
}

}  // namespace muster
