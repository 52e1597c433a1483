// Captions as people write them: varied wording, things left out or blurred, now and then a slip.
#pragma once

#include <cstdint>
#include <string>

#include "dataloader/synth/view.h"

namespace muster::synth {

struct Caption {
  std::string text;   // ASCII
  bool slip = false;  // one attribute may be told wrong
};

constexpr float kSlipRate = 0.02F;

// `index` numbers the captions of this view from 0, below kMaxCaptions.
constexpr int kMaxCaptions = 16;
Caption write_caption(uint64_t seed, int64_t identity, int64_t view_index, int index, const Person& person,
                      const View& view);

}  // namespace muster::synth
