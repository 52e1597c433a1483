#include "trainer/image_search.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include "dataloader/text/escaped.h"
#include "launch/error.h"
#include "trainer/evaluation.h"
#include "trainer/model_tokenizer.h"

namespace muster {

QueryEncoder::QueryEncoder(Model& model, const RunSettings& settings)
    : model_(model),
      tokenizer_(make_model_tokenizer(settings.data, settings.model)),
      context_(settings.model.text().context()) {}

at::Tensor QueryEncoder::encode(const std::string& words) const {
  if (words.size() > kMaxQueryBytes) {
    throw ConfigError(fmt::format("the query has {} bytes: give at most {}, in the words of a caption", words.size(),
                                  kMaxQueryBytes));
  }
  const at::Tensor tokens = at::empty({1, context_}, at::kLong);
  auto* ids = tokens.mutable_data_ptr<int64_t>();
  try {
    tokenizer_->encode(words, ids, context_);
  } catch (const DataError&) {
    throw ConfigError(fmt::format("the query '{}' is not UTF-8; give it as UTF-8 text", escaped(words)));
  }
  if (tokenizer_->decode(ids, context_).empty()) {
    throw ConfigError(
        fmt::format("the query '{}' has no word to search for: describe what the picture shows, such as "
                    "\"a man in a red coat\"",
                    escaped(words)));
  }
  return embed_tokens(model_, tokens)[0];
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
