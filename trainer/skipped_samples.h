// RUN/non_finite.jsonl: the samples of each step that was skipped because its loss or gradient was not finite, a line
// each:
//
//   {"kind":"non_finite","step":37,"loss":null,"grad_norm":null,"position":288,"store":"people","image":12,
//    "file":"photos/7_1.jpg","caption":25}
//
// position: in the sample stream; image and caption: the store's numbers. A number that is not finite is null. Lines of
// steps after a checkpoint go when the run continues from it.
#pragma once

#include <cstdint>
#include <string>

#include "dataloader/dataloader.pb.h"
#include "dataloader/training_stores.h"
#include "trainer/step.h"
#include "trainer/trainer.pb.h"

namespace muster {

std::string skipped_samples_path(const std::string& run_dir);

// Of the batch after `steps_done` steps. DataError: the file cannot be written.
void record_skipped_samples(const std::string& run_dir, const StepResult& result, int64_t steps_done,
                            const TrainingStores& stores, const DataConfig& data, const TrainConfig& train);

}  // namespace muster
