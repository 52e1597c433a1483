// From a model and a split of a store to embeddings and the retrieval table.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "dataloader/batch.h"
#include "dataloader/evaluation_reader.h"
#include "dataloader/store.h"
#include "trainer/encoders/model.h"
#include "trainer/report/step_record.h"
#include "trainer/retrieval/relevance_file.h"
#include "trainer/retrieval/retrieval.h"
#include "trainer/retrieval/set_retrieval.h"
#include "trainer/run_settings.h"

namespace muster {

// What makes a gallery item right for a query: that both are of one identity, or of one image (COCO, Flickr30k: an
// image and its five captions, whoever is in it). kClass: the same identity, with one text for each, the mean of its
// captions (identity_means.h; CUB, Flowers).
enum class PositiveRule { kIdentity, kImage, kClass };
std::string positives_name(PositiveRule rule);  // "identity", "image", "class"

// All images and captions of a split, and this rank's rows of their embeddings: images and captions are cut over the
// ranks by split_rows(), in order.
struct SplitEmbeddings {
  std::vector<int64_t> images;                       // image numbers of the whole split
  std::vector<int64_t> captions;                     // caption numbers of the whole split
  std::vector<int64_t> caption_images;               // the image number of each caption
  EmbeddingRows image_rows;                          // this rank's
  EmbeddingRows text_rows;                           // kClass: of the classes, not of the captions
  PositiveRule positives = PositiveRule::kIdentity;  // what the rows' `identity` is
  // Of all regions and words, where train.evaluation.pair ranks by their alignment; the rows above are then those of
  // the pair "global".
  struct Sets {
    EmbeddingSets images, texts;
    Alignment alignment;
  };
  std::optional<Sets> sets = std::nullopt;

  // The rows' `identity` of an image and its captions.
  int64_t label(const Store& store, int64_t image) const {
    return positives == PositiveRule::kImage ? image : store.identity(image);
  }
};

struct NamedRelevances {
  std::string name;  // "rougeL"
  std::shared_ptr<const RelevanceFile> file;
};

// What the loader must give the model.
InputSize input_size(const ModelConfig& model);

// [numbers.size(), width] float32, raw, of image numbers of the reader's store; some at a time. The model is put into
// evaluation mode and back.
at::Tensor embed_images(Model& model, const EvaluationReader& reader, const std::vector<int64_t>& numbers,
                        const RunSettings& settings);
// The same of token ids [n,L].
at::Tensor embed_tokens(Model& model, const at::Tensor& tokens);

// Collective; ranks communicate for kClass alone. The model is put into evaluation mode and back. DataError if the
// split has no images or no captions; ConfigError: kClass where sets are ranked; for kClass DataError also if each
// image is the only one of its identity: a store that was imported without identities.
SplitEmbeddings embed_split(Model& model, const Store& store, Split split, const RunSettings& settings,
                            Communicator& communicator, PositiveRule positives = PositiveRule::kIdentity);

// How a split is evaluated beside its ranks.
struct EvaluationProtocol {
  // The split's images in so many parts of consecutive ones, each a gallery of its own with its captions; figures are
  // the mean over parts. COCO's "1K": 5 of 1,000 images.
  int64_t folds = 1;
  // NDCG by each of these, which are of the whole split.
  std::vector<NamedRelevances> relevances;
};

// ConfigError: folds that do not divide the split's images.
void check_folds(int64_t folds, int64_t images, Split split);

// Collective. Both directions. ConfigError: folds that do not divide the images, folds or relevances of classes;
// DataError: a fold without captions; damaged relevances.
EvaluationRecord evaluate_embeddings(const SplitEmbeddings& embeddings, Split split, int64_t step,
                                     Communicator& communicator, const EvaluationProtocol& protocol = {});

}  // namespace muster
