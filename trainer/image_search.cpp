#include "trainer/image_search.h"

#include "trainer/evaluation.h"
#include "trainer/model_tokenizer.h"

namespace muster {

QueryEncoder::QueryEncoder(Model& model, const RunSettings& settings)
    : model_(model),
      tokenizer_(make_model_tokenizer(settings.data, settings.model)),
      context_(settings.model.text().context()) {}

at::Tensor QueryEncoder::encode(const std::string& words) const {
  return embed_tokens(model_, encode_words(*tokenizer_, words, context_, "query", "search for"))[0];
}

ImageSearch::ImageSearch(const at::Tensor& images, Storage storage, const Refining* refining)
    : index_(images.size(0), images.size(1), storage) {
  index_.add(images);
  if (refining == nullptr) return;
  refined_ = std::make_unique<RefinedGallery>(refining->basis, refining->config, refining->choice, images, index_);
}

ImageSearch::Found ImageSearch::find(const at::Tensor& query, int64_t top) const {
  Found found{index_.search(query, top), {}};
  if (refined_) found.refined = index_.search_mixed(query, refined_->query(query), top);
  return found;
}

}  // namespace muster
