// The colours people and their things come in.
#pragma once

#include "dataloader/synth/canvas.h"

namespace muster::synth {

enum class Dye {
  kBlack,
  kWhite,
  kGrey,
  kDarkGrey,
  kRed,
  kBurgundy,
  kPink,
  kOrange,
  kYellow,
  kGreen,
  kDarkGreen,
  kOlive,
  kLightBlue,
  kBlue,
  kNavy,
  kTeal,
  kPurple,
  kBrown,
  kBeige,
};
constexpr int kDyes = 19;

enum class HairColour { kBlack, kBrown, kBlonde, kRed, kGrey, kWhite };
constexpr int kHairColours = 6;

// The typical shade; an individual's own shade lies near it.
Colour shade_of(Dye dye);
Colour shade_of(HairColour colour);
// From pale (0) to deep (1).
Colour skin_shade(float tone);

// Black, dark grey, navy, burgundy, dark green, brown: what people call "dark" from afar.
bool is_dark(Dye dye);
// White, beige, light blue, and the like.
bool is_light(Dye dye);

float luminance(Colour colour);

}  // namespace muster::synth
