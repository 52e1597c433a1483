// The last stage: what light, lens and sensor make of the scene.
#pragma once

#include "dataloader/image.h"
#include "dataloader/synth/canvas.h"
#include "dataloader/synth/view.h"

namespace muster::synth {

// Changes the canvas (light, haze, blur) and returns it as 8 bits with the sensor's noise.
Image expose(Canvas& canvas, const View& view);

}  // namespace muster::synth
