// train.chunk: AUTO: as many rows a forward as the memory holds.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "comm/communicator.h"
#include "trainer/step.h"
#include "trainer/step_cost.h"

namespace muster {

// train.chunk's number for AUTO.
inline constexpr int64_t kAutoChunk = -1;

// The first of `rows`, rows / 2, rows / 4 ... 1 (rounded up) that fits this rank's memory, and of all ranks' answers
// the least. Collective: one all-reduce; `fits` makes no collective call. ConfigError with `refusal` on every rank if a
// single row does not fit one of them.
int64_t search_chunk(int64_t rows, const std::function<bool(int64_t)>& fits, Communicator& communicator,
                     const std::string& refusal);

// Whether forward and backward of a chunk of so many rows, of captions as long as they may be, run in the device's
// memory, with room left for what the losses and the exchange of gradients need. Tries it: gradients are zeros
// afterwards, all else is as before.
bool fits_device(int64_t chunk, TrainingStep& step, const StepJob& job, int rank, at::Device device);

// Whether a rank needs at most so many bytes of its host, by the dry run's account and `kProgramBytes`: on a CPU memory
// that is too small cannot be tried, it ends the process.
inline constexpr int64_t kProgramBytes = int64_t{512} << 20;
bool fits_host(int64_t chunk, StepJob job, int rank, int64_t bytes);

// All of it: by trying on a GPU, of `host_memory` bytes for this rank on a CPU; says in the log (rank 0) what was
// found. The model is in training mode. Collective.
int64_t find_chunk(TrainingStep& step, StepJob job, at::Device device, int64_t host_memory, Communicator& communicator);

}  // namespace muster
