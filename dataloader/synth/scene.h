// The world round the person: place, things in it, what stands in front.
#pragma once

#include "dataloader/synth/canvas.h"
#include "dataloader/synth/view.h"

namespace muster::synth {

// Covers the whole canvas.
void draw_place(Canvas& canvas, const View& view);

// What hides a part of the person. Nothing for Occluder::kNone.
void draw_occluder(Canvas& canvas, const View& view);

}  // namespace muster::synth
