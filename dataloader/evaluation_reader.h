// Images and captions by number, prepared for evaluation: no augmentation, no order of its own.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "dataloader/batch.h"
#include "dataloader/dataloader.pb.h"
#include "dataloader/region_batch.h"
#include "dataloader/store.h"
#include "dataloader/tokenizer.h"
#include "dataloader/transforms.h"

namespace muster {

// Uses data.workers threads for the length of each call. Const calls from several threads are fine. The store and the
// tokenizer must outlive it.
class EvaluationReader {
 public:
  // ConfigError as Loader.
  EvaluationReader(const Store& store, const DataConfig& data, const InputSize& input, const Tokenizer& tokenizer);

  // Of the store's image numbers, images alone: Batch::images or, where the input is regions, what a batch has of
  // these. DataError naming the image.
  Batch images(const std::vector<int64_t>& numbers) const;
  // [numbers.size(), L] int64, of the store's caption numbers. DataError naming the caption.
  at::Tensor tokens(const std::vector<int64_t>& numbers) const;

 private:
  Batch regions(const std::vector<int64_t>& numbers) const;

  const Store& store_;
  const Tokenizer& tokenizer_;
  std::optional<ImageTransform> transform_;  // none: the input is regions
  int64_t context_;
  int threads_;
};

}  // namespace muster
