// The hinge of one anchor, as triplet and tal have it.
#pragma once

#include "trainer/losses/pair_loss.h"

namespace muster {

// max(0, margin - positive + negative); 0 without a negative (kNoCosine). Not finite if a cosine is not, so that the
// value shows it.
inline double hinge(double margin, double positive, double negative) {
  if (negative == kNoCosine && positive == positive) return 0;
  const double h = margin - positive + negative;
  return h <= 0 ? 0 : h;
}

}  // namespace muster
