// Damage that nobody reports: a bit that flips in one rank's memory, a processor that computes wrongly. What every rank
// should hold in the same bits is hashed and compared over the ranks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "dataloader/formats/safetensors.h"

namespace muster {

struct ReplicatedPart {
  std::string name;  // "weights"
  NamedTensors tensors;
};

// Collective. CommError, on every rank, if the ranks' parts differ in any bit: it names the ranks that hold something
// else than most, their hosts, and the first tensor. Of two ranks, or where no half agrees, no majority can say which.
void compare_ranks(const std::vector<ReplicatedPart>& parts, int64_t step, Communicator& communicator);

// Collective. NonFiniteError, on every rank, naming the first tensor with a NaN or infinity in it. `parts`: the same on
// every rank, but for `own`, of which each rank has a share (may be empty).
void require_finite(const std::vector<ReplicatedPart>& parts, const NamedTensors& own, int64_t step,
                    Communicator& communicator);

}  // namespace muster
