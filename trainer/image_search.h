// From words to the images of a split that match them best, one query at a time.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dataloader/tokenizer.h"
#include "trainer/encoders/model.h"
#include "trainer/references/refined_gallery.h"
#include "trainer/references/refinement.h"
#include "trainer/retrieval/search_index.h"
#include "trainer/run_settings.h"

namespace muster {

// Words as the model's text tower sees them.
class QueryEncoder {
 public:
  // `model` must outlive it.
  QueryEncoder(Model& model, const RunSettings& settings);

  // [width] float32, raw. One thread at a time. ConfigError as encode_words() (model_tokenizer.h).
  at::Tensor encode(const std::string& words) const;

 private:
  Model& model_;
  std::unique_ptr<Tokenizer> tokenizer_;
  int64_t context_;
};

// What refines a ranking.
struct Refining {
  ReferenceBasis basis;
  RefinementConfig config;
  RefinementChoice choice;
};

class ImageSearch {
 public:
  // `images` [n,width] float32, raw: the gallery. Without `refining` hits are plain only. ConfigError: an index that
  // does not fit the memory, references of another width; NonFiniteError: NaN or infinity among the images.
  ImageSearch(const at::Tensor& images, Storage storage, const Refining* refining);

  // Rows of the gallery, best first, at most `top`.
  struct Found {
    std::vector<Hit> plain;
    std::vector<Hit> refined;  // empty without references
  };
  // Of an encoded query. Any number of threads.
  Found find(const at::Tensor& query, int64_t top) const;

 private:
  SearchIndex index_;
  std::unique_ptr<RefinedGallery> refined_;
};

}  // namespace muster
