// A small model and batches that are the same on every rank, for tests of whole training steps.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "comm/comm.pb.h"
#include "comm/communicator.h"
#include "comm/make_communicator.h"
#include "dataloader/batch.h"
#include "dataloader/random.h"
#include "tests/support/test_process.h"
#include "trainer/encoders/model_config.h"
#include "trainer/step.h"

namespace muster {

constexpr uint64_t kSeed = 7;

inline ModelConfig small_model() {
  ModelConfig config;
  config.set_preset(ModelConfig::MINI);
  config.mutable_image()->set_layers(2);
  config.mutable_text()->set_layers(2);
  config.set_dropout(0.1);
  return resolve_model(config);
}

// The whole batch of a step, the same on every rank; identities come twice or thrice.
inline Batch make_batch(const ModelConfig& model, int64_t rows, int64_t step) {
  KeyedRandom random(kSeed, static_cast<uint64_t>(step), Purpose::kSynth);
  Batch batch;
  batch.images = at::empty({rows, 3, model.image().height_pixels(), model.image().width_pixels()}, at::kFloat);
  for (int64_t i = 0; i < batch.images.numel(); ++i) {
    batch.images.mutable_data_ptr<float>()[i] = static_cast<float>(random.next_normal());
  }
  batch.tokens = at::zeros({rows, model.text().context()}, at::kLong);
  for (int64_t row = 0; row < rows; ++row) {
    int64_t* ids = batch.tokens[row].mutable_data_ptr<int64_t>();
    const auto words = static_cast<int64_t>(3 + random.next_below(12));
    ids[0] = model.text().vocabulary() - 2;
    for (int64_t word = 1; word <= words; ++word) ids[word] = static_cast<int64_t>(random.next_below(500));
    ids[words + 1] = model.text().vocabulary() - 1;
  }
  batch.identity = at::empty({rows}, at::kLong);
  for (int64_t row = 0; row < rows; ++row) {
    batch.identity.mutable_data_ptr<int64_t>()[row] =
        static_cast<int64_t>(random.next_below(static_cast<uint64_t>(rows / 2 + 1)));
  }
  batch.image_id = at::arange(rows, at::kLong);
  batch.position = at::arange(step * rows, (step + 1) * rows, at::kLong);
  return batch;
}

inline Batch rows_of_rank(const Batch& whole, const Communicator& communicator) {
  return slice_batch(whole, slice_of(whole.size(), {communicator.rank(), communicator.size()}));
}

// The communicator of this process's world, in checked mode.
class StepTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    CommConfig config;
    config.set_checked(true);
    communicator_ = make_communicator(test_process(), config);
  }
  static void TearDownTestSuite() { communicator_.reset(); }
  static inline std::unique_ptr<Communicator> communicator_;
};

// max |value - truth| / max(max |truth|, floor)
inline double relative_error(const at::Tensor& value, const at::Tensor& truth, double floor) {
  const double error = (value.detach().to(at::kCPU, at::kDouble) - truth.detach()).abs().max().item<double>();
  return error / std::max({truth.detach().abs().max().item<double>(), floor, 1e-300});
}

}  // namespace muster
