#pragma once

#include <cstdint>
#include <string>

#include "dataloader/store.h"

namespace muster {

// How many captions the images of a split have; without any it can be neither trained on nor evaluated.
int64_t captions_of(const Store& store, Split split);

// What to give instead of a split without captions: "--split train has 50, --split val has 10".
std::string splits_with_captions(const Store& store);

}  // namespace muster
