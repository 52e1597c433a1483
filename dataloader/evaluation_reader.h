// Images and captions by number, prepared for evaluation: no augmentation, no order of its own.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "dataloader/batch.h"
#include "dataloader/dataloader.pb.h"
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

  // [numbers.size(), 3, H, W] float32, of the store's image numbers. DataError naming the image.
  at::Tensor images(const std::vector<int64_t>& numbers) const;
  // [numbers.size(), L] int64, of the store's caption numbers. DataError naming the caption.
  at::Tensor tokens(const std::vector<int64_t>& numbers) const;

 private:
  const Store& store_;
  const Tokenizer& tokenizer_;
  ImageTransform transform_;
  int64_t context_;
  int threads_;
};

}  // namespace muster
