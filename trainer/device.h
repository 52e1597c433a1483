// Which device a rank computes its model on.
//
// Model, heads and losses are computed there, and the cosines of references, whose bank is in the host's memory; all
// figures of evaluation on the CPU wherever the model is.
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

// Returns once all that this process has given the device to do is done: for measuring.
void synchronise(at::Device device);

}  // namespace muster
