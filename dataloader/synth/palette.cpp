#include "dataloader/synth/palette.h"

#include <array>

namespace muster::synth {
namespace {

Colour bytes(int r, int g, int b) {
  return {static_cast<float>(r) / 255.0F, static_cast<float>(g) / 255.0F, static_cast<float>(b) / 255.0F};
}

}  // namespace

Colour shade_of(Dye dye) {
  switch (dye) {
    case Dye::kBlack:
      return bytes(30, 30, 33);
    case Dye::kWhite:
      return bytes(238, 238, 236);
    case Dye::kGrey:
      return bytes(152, 154, 157);
    case Dye::kDarkGrey:
      return bytes(82, 84, 89);
    case Dye::kRed:
      return bytes(206, 33, 38);
    case Dye::kBurgundy:
      return bytes(116, 22, 42);
    case Dye::kPink:
      return bytes(240, 148, 178);
    case Dye::kOrange:
      return bytes(240, 124, 32);
    case Dye::kYellow:
      return bytes(244, 208, 44);
    case Dye::kGreen:
      return bytes(52, 158, 74);
    case Dye::kDarkGreen:
      return bytes(22, 76, 50);
    case Dye::kOlive:
      return bytes(112, 114, 58);
    case Dye::kLightBlue:
      return bytes(146, 192, 232);
    case Dye::kBlue:
      return bytes(38, 92, 204);
    case Dye::kNavy:
      return bytes(28, 40, 92);
    case Dye::kTeal:
      return bytes(28, 152, 156);
    case Dye::kPurple:
      return bytes(116, 62, 154);
    case Dye::kBrown:
      return bytes(108, 70, 42);
    case Dye::kBeige:
      return bytes(214, 188, 146);
  }
  return {};
}

Colour shade_of(HairColour colour) {
  switch (colour) {
    case HairColour::kBlack:
      return bytes(28, 24, 24);
    case HairColour::kBrown:
      return bytes(88, 54, 30);
    case HairColour::kBlonde:
      return bytes(222, 184, 108);
    case HairColour::kRed:
      return bytes(178, 76, 30);
    case HairColour::kGrey:
      return bytes(146, 146, 148);
    case HairColour::kWhite:
      return bytes(228, 226, 220);
  }
  return {};
}

Colour skin_shade(float tone) {
  const std::array<Colour, 5> steps = {bytes(248, 216, 194), bytes(234, 190, 156), bytes(206, 152, 112),
                                       bytes(150, 100, 68), bytes(92, 60, 44)};
  const float at = std::clamp(tone, 0.0F, 1.0F) * 4.0F;
  const size_t low = std::min(static_cast<size_t>(at), size_t{3});
  return mix(steps[low], steps[low + 1], at - static_cast<float>(low));
}

bool is_dark(Dye dye) {
  return dye == Dye::kBlack || dye == Dye::kDarkGrey || dye == Dye::kNavy || dye == Dye::kBurgundy ||
         dye == Dye::kDarkGreen || dye == Dye::kBrown;
}

bool is_light(Dye dye) {
  return dye == Dye::kWhite || dye == Dye::kBeige || dye == Dye::kLightBlue || dye == Dye::kPink;
}

float luminance(Colour c) {
  return 0.3F * c.r + 0.59F * c.g + 0.11F * c.b;
}

}  // namespace muster::synth
