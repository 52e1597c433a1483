// What one rank may fail at, decided by all.
#pragma once

#include <functional>
#include <string>

#include "comm/communicator.h"

namespace muster {

// Collective. Does `part`, which is this rank's share and holds no collective, on every rank. DataError on every rank,
// with the same text, if `part` threw one on any: the text of the lowest such rank. `name` is the collectives'.
void all_or_none(Communicator& communicator, const std::string& name, const std::function<void()>& part);

}  // namespace muster
