#include "dataloader/color_jitter.h"

#include <algorithm>
#include <utility>

#include "dataloader/color.h"

namespace muster {

ColorJitter::ColorJitter(const ColorJitterConfig& config)
    : probability_(config.probability()),
      strength_({config.brightness(), config.contrast(), config.saturation(), config.hue()}) {
  const bool any = std::any_of(strength_.begin(), strength_.end(), [](double strength) { return strength > 0; });
  if (!any) probability_ = 0;
}

ColorJitter::Choice ColorJitter::choose(KeyedRandom random) const {
  Choice choice;
  choice.applied = random.next_double() < probability_;
  if (!choice.applied) return choice;
  for (size_t left = choice.order.size(); left > 1; --left) {
    std::swap(choice.order[random.next_below(left)], choice.order[left - 1]);
  }
  for (const Operation operation : {kBrightness, kContrast, kSaturation}) {
    const double strength = strength_[operation], low = std::max(0.0, 1 - strength);
    choice.amount[operation] = low + random.next_double() * (1 + strength - low);
  }
  choice.amount[kHue] = strength_[kHue] * (2 * random.next_double() - 1);
  return choice;
}

void ColorJitter::apply(const Choice& choice, Image& image) const {
  if (!choice.applied) return;
  for (const Operation operation : choice.order) {
    if (strength_[operation] == 0) continue;
    const double amount = choice.amount[operation];
    switch (operation) {
      case kBrightness:
        adjust_brightness(image, amount);
        break;
      case kContrast:
        adjust_contrast(image, amount);
        break;
      case kSaturation:
        adjust_saturation(image, amount);
        break;
      case kHue:
        adjust_hue(image, amount);
        break;
    }
  }
}

}  // namespace muster
