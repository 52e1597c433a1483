// Which device a rank computes its model on.
//
// Losses, references and all figures of evaluation are computed on the CPU wherever the model is: features of a batch
// are small, and only the model's own work is large.
#pragma once

#include <c10/core/Device.h>

#include "launch/process.h"
#include "trainer/trainer.pb.h"

namespace muster {

// One GPU for each rank of a host: that with the rank's number there. AUTO takes GPUs where this build and this host
// have some; a build with CUDA says in the log (rank 0) why not. Makes it the current device of this thread and tries
// it with one addition. ConfigError: CUDA where there is none, fewer GPUs than ranks on this host (but in tests, where
// NCCL_HOSTID tells NCCL that ranks on one GPU are different hosts: then they share), a GPU that LibTorch cannot use.
at::Device choose_device(TrainConfig::Device wanted, const Process& process);

}  // namespace muster
