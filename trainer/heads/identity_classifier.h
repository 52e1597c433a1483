// Identity classification as IRRA and SEN have it (github.com/anosorae/IRRA, model/objectives.py, compute_id): with W
// [C, d] and c [C], the same for images and captions, features raw,
//
//   l = (-log softmax(W v + c)[y] - log softmax(W t + c)[y]) / 2
//
// C are the identities of the training set, whatever their numbers. First values: normal of deviation 1e-3, and 0.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "launch/checks.h"
#include "trainer/encoders/encoders.pb.h"
#include "trainer/heads/head.h"
#include "trainer/heads/heads.pb.h"

namespace muster {

void check_identity_classifier(const IdentityClassifierConfig& config, Checks& checks);

// `identities`: all that batches hold, ascending; the head's sum() throws std::logic_error on others. It reads the
// model's first pair of features. `model`: a resolved config.
std::shared_ptr<Head> make_identity_classifier(const IdentityClassifierConfig& config, const ModelConfig& model,
                                               std::vector<int64_t> identities, uint64_t seed);

}  // namespace muster
