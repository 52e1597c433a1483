// How a run comes to its reference bank: which identities have a reference, and what it is before the first step.
#pragma once

#include <memory>

#include "comm/communicator.h"
#include "dataloader/training_stores.h"
#include "trainer/encoders/model.h"
#include "trainer/references/reference_bank.h"
#include "trainer/run_settings.h"

namespace muster {

// A bank of zeros for all identities that are trained on; null if the config asks for none. ConfigError: there are no
// identities to speak of, each image with its one caption being its own. `device`: where its losses are computed.
std::unique_ptr<ReferenceBank> make_references(const RunSettings& settings, const TrainingStores& stores,
                                               Communicator& communicator, const LossDevice& device);

// The values that the config asks for. MEAN: one pass over the training images and captions, without augmentation: a
// reference is the direction of the sum over its image-caption pairs of both unit features. RUN: see
// inherited_references.h; MEAN for identities without one there. Collective.
void initialise_references(ReferenceBank& bank, Model& model, const RunSettings& settings, const TrainingStores& stores,
                           Communicator& communicator);

}  // namespace muster
