// An exponential moving average of weights (Polyak and Juditsky, 1992; decay with warm-up as TensorFlow's
// ExponentialMovingAverage with num_updates).
#pragma once

#include <cstdint>

#include "dataloader/formats/safetensors.h"
#include "trainer/trainer.pb.h"

namespace muster {

// For one thread. The same inputs give the same bits, at any number of threads.
class WeightAverage {
 public:
  // Starts as a copy of `weights`, whose memory is read by update() and must stay. Floating point tensors.
  WeightAverage(NamedTensors weights, const EmaConfig& config);

  // average += (1 - decay) * (weights - average) in one pass, in place; `updates`: those done before.
  void update(int64_t updates);

  // Exchanges the values of the weights and of their average, in place.
  void exchange();

  // Under the weights' names. They share memory with the average: copy before the next update.
  const NamedTensors& tensors() const { return average_; }

 private:
  NamedTensors weights_;
  NamedTensors average_;
  EmaConfig config_;
};

// While it lives, the weights hold their average. Does nothing with a null pointer.
class AveragedWeights {
 public:
  explicit AveragedWeights(WeightAverage* average) : average_(average) {
    if (average_ != nullptr) average_->exchange();
  }
  ~AveragedWeights() {
    if (average_ != nullptr) average_->exchange();
  }
  AveragedWeights(const AveragedWeights&) = delete;
  AveragedWeights& operator=(const AveragedWeights&) = delete;

 private:
  WeightAverage* average_;
};

}  // namespace muster
