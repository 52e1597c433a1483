// The kinds of triplet loss, a file each.
#pragma once

#include "trainer/losses/loss_term.h"

namespace muster {

// negatives: ALL.
LossTerm describe_triplet_all(const Triplet& config);
// negatives: SOFT.
LossTerm describe_triplet_soft(const Triplet& config);

}  // namespace muster
