// From a run's settings and stores to the counts that its costs follow from.
#pragma once

#include <cstdint>

#include "dataloader/training_stores.h"
#include "trainer/step_cost.h"

namespace muster {

// Opens what the run would. DataError as make_heads() and TextTransform.
StepJob make_step_job(const RunSettings& settings, const TrainingStores& stores, int world, int64_t caption_tokens);

}  // namespace muster
