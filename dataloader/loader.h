// The training batches of one rank, decoded ahead by threads.
//
// What a batch holds is a pure function of (stores, config, seed, global batch, step, shard): not of the number of
// threads, nor of the step the loader started at; and the ranks' batches, joined in rank order, are the batch of a
// world of one.
#pragma once

#include <memory>

#include "dataloader/batch.h"
#include "dataloader/dataloader.pb.h"
#include "dataloader/tokenizer.h"
#include "dataloader/training_stores.h"
#include "launch/trace.h"

namespace muster {

// Which batches a loader gives: this shard's slice_of() each global batch of the steps [first_step, end_step).
struct SampleStream {
  uint64_t seed = 0;
  int64_t global_batch = 0;
  Shard shard;
  int64_t first_step = 0;
  int64_t end_step = 0;
};

// How many batches a loader and its caller have in memory at the most.
int64_t most_batches(const DataConfig& data);

class Loader {
 public:
  // Starts data.workers threads, which keep data.prefetch batches of data.train_splits ahead. The stores and the
  // tokenizer must outlive it. ConfigError: as make_sampler(); no worker; no batch ahead; a transform that cannot work;
  // a store without the regions that the input wants.
  // Rank 0 logs once how many images have no caption and are left out. Each thread records its samples in `trace` if
  // one is given; it must outlive the loader.
  Loader(const TrainingStores& stores, const DataConfig& data, const InputSize& input, const Tokenizer& tokenizer,
         const SampleStream& stream, TraceRecorder* trace = nullptr);
  // Joins the threads after the samples they are at, however many batches were taken.
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  // The batch of the next step. Throws what its worker met: DataError naming step and image if one cannot be read; the
  // batches before it are given first, and it is thrown again by every later call. std::logic_error after the last
  // step. One thread at a time.
  Batch next();

  // Seconds that all calls of next() have waited so far.
  double waited_seconds() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace muster
