// A gallery whose side of a refinement is made once, for queries that come one by one: scores have the bits that
// Refinement gives the same rows.
#pragma once

#include <ATen/core/Tensor.h>

#include "trainer/references/reference_map.h"
#include "trainer/references/refinement.h"
#include "trainer/retrieval/search_index.h"

namespace muster {

class RefinedGallery {
 public:
  // Adds the second rows of these images ([n,d] float32, raw) to the index, which holds the images. ConfigError:
  // another width than the references'.
  RefinedGallery(const ReferenceBasis& basis, const RefinementConfig& config, const RefinementChoice& choice,
                 const at::Tensor& images, SearchIndex& index);

  // What a text [d], raw, asks of the index. Any number of threads.
  SearchIndex::Mixed query(const at::Tensor& text) const;

 private:
  ReferenceMap map_;
  RefinementChoice choice_;
  at::Tensor covariance_, second_covariance_;  // of the gallery; without z-scores undefined
};

}  // namespace muster
