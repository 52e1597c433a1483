#pragma once

#include <array>

#include "dataloader/dataloader.pb.h"
#include "dataloader/image.h"
#include "dataloader/random.h"

namespace muster {

// torchvision's ColorJitter (torchvision/transforms/transforms.py) for a part of the images.
class ColorJitter {
 public:
  enum Operation { kBrightness, kContrast, kSaturation, kHue };
  // What happens to one image: the operations in this order, each with its amount. Those whose strength is 0 are left
  // out when applied.
  struct Choice {
    bool applied = false;
    std::array<Operation, 4> order = {kBrightness, kContrast, kSaturation, kHue};
    std::array<double, 4> amount = {1, 1, 1, 0};  // by operation
  };

  explicit ColorJitter(const ColorJitterConfig& config);

  // The order is one of the 24, factors are uniform in [max(0, 1 - strength), 1 + strength], the turn in [-hue, hue].
  Choice choose(KeyedRandom random) const;
  void apply(const Choice& choice, Image& image) const;

 private:
  double probability_;
  std::array<double, 4> strength_;  // by operation
};

}  // namespace muster
