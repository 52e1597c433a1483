#include "dataloader/random_box.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "tests/support/file_bytes.h"
#include "tests/support/reference_python.h"
#include "tests/support/temporary_folder.h"

namespace muster {
namespace {

constexpr int kDraws = 20000;

// get_params of torchvision's two classes, with NumPy's numbers for torch's. Writes kDraws boxes (y, x, h, w); the
// whole image where nothing is erased.
constexpr char kTorchvision[] = R"(
import math, sys
import numpy as np
random = np.random.default_rng(9)
path, kind, draws = sys.argv[1], sys.argv[2], int(sys.argv[3])
width, height = map(int, sys.argv[4:6])
scale, ratio = list(map(float, sys.argv[6:8])), list(map(float, sys.argv[8:10]))

def crop():
    area = height * width
    log_ratio = np.log(ratio)
    for _ in range(10):
        target_area = area * random.uniform(scale[0], scale[1])
        aspect_ratio = math.exp(random.uniform(log_ratio[0], log_ratio[1]))
        w = int(round(math.sqrt(target_area * aspect_ratio)))
        h = int(round(math.sqrt(target_area / aspect_ratio)))
        if 0 < w <= width and 0 < h <= height:
            return random.integers(0, height - h + 1), random.integers(0, width - w + 1), h, w
    in_ratio = float(width) / float(height)
    if in_ratio < min(ratio):
        w = width
        h = int(round(w / min(ratio)))
    elif in_ratio > max(ratio):
        h = height
        w = int(round(h * max(ratio)))
    else:
        w, h = width, height
    return (height - h) // 2, (width - w) // 2, h, w

def erase():
    area = height * width
    log_ratio = np.log(ratio)
    for _ in range(10):
        erase_area = area * random.uniform(scale[0], scale[1])
        aspect_ratio = math.exp(random.uniform(log_ratio[0], log_ratio[1]))
        h = int(round(math.sqrt(erase_area * aspect_ratio)))
        w = int(round(math.sqrt(erase_area / aspect_ratio)))
        if not (h < height and w < width):
            continue
        return random.integers(0, height - h + 1), random.integers(0, width - w + 1), h, w
    return 0, 0, height, width

draw = crop if kind == 'crop' else erase
np.array([draw() for _ in range(draws)], np.int32).tofile(path)
)";

// Kolmogorov-Smirnov distance of two samples.
double distance(std::vector<int> a, std::vector<int> b) {
  std::sort(a.begin(), a.end());
  std::sort(b.begin(), b.end());
  double most = 0;
  for (const std::vector<int>& values : {a, b}) {
    for (const int value : values) {
      const auto below = [&](const std::vector<int>& all) {
        return static_cast<double>(std::upper_bound(all.begin(), all.end(), value) - all.begin()) /
               static_cast<double>(all.size());
      };
      most = std::max(most, std::abs(below(a) - below(b)));
    }
  }
  return most;
}

struct Case {
  int width, height;
  double min_area, max_area, min_aspect, max_aspect;
};

template <typename Config>
Config to_config(const Case& c) {
  Config config;
  config.set_min_area(c.min_area);
  config.set_max_area(c.max_area);
  config.set_min_aspect(c.min_aspect);
  config.set_max_aspect(c.max_aspect);
  return config;
}

template <typename Draw>
void expect_same_distribution(const std::string& kind, const Case& c, const Draw& draw) {
  TemporaryFolder folder;
  run_reference_python(
      kTorchvision, {folder / "boxes", kind, std::to_string(kDraws), std::to_string(c.width), std::to_string(c.height),
                     fmt::format("{}", c.min_area), fmt::format("{}", c.max_area), fmt::format("{}", c.min_aspect),
                     fmt::format("{}", c.max_aspect)});
  const std::vector<uint8_t> bytes = read_bytes(folder / "boxes");
  ASSERT_EQ(bytes.size(), kDraws * 4 * sizeof(int32_t));
  std::vector<std::vector<int>> theirs(6), ours(6);
  const auto note = [](std::vector<std::vector<int>>& all, int y, int x, int height, int width) {
    // The sides, the corner, and what holds sides and corner together.
    const int values[6] = {y, x, height, width, height * width, (y + 1) * (height + 1) - (x + 1) * (width + 1)};
    for (size_t i = 0; i < 6; ++i) all[i].push_back(values[i]);
  };
  for (size_t i = 0; i < kDraws; ++i) {
    int32_t box[4];
    std::memcpy(box, &bytes[i * sizeof(box)], sizeof(box));
    note(theirs, box[0], box[1], box[2], box[3]);
    KeyedRandom random(3, i, Purpose::kErasing);
    const Window window = draw(random);
    note(ours, window.y, window.x, window.height, window.width);
  }
  // 99.99 % of the distance of two samples of this size.
  const double limit = 2.23 * std::sqrt(2.0 / kDraws);
  for (size_t i = 0; i < 6; ++i) EXPECT_LT(distance(theirs[i], ours[i]), limit) << kind << " " << i;
}

TEST(RandomBox, CropsAreDistributedAsTorchvisions) {
  MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON();
  for (const Case& c : {Case{96, 96, 0.08, 1, 0.75, 4.0 / 3}, Case{64, 192, 0.5, 1, 0.75, 4.0 / 3},
                        Case{200, 31, 0.9, 1, 0.5, 2}, Case{7, 5, 0.01, 0.5, 0.2, 5}}) {
    const auto config = to_config<ResizedCropConfig>(c);
    expect_same_distribution("crop", c,
                             [&](KeyedRandom& random) { return draw_crop_box(config, c.width, c.height, random); });
  }
}

TEST(RandomBox, ErasingsAreDistributedAsTorchvisions) {
  MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON();
  for (const Case& c :
       {Case{128, 384, 0.02, 0.4, 0.3, 3.3}, Case{64, 64, 0.02, 0.33, 0.3, 3.3}, Case{20, 9, 0.5, 1, 0.3, 3.3}}) {
    const auto config = to_config<ErasingConfig>(c);
    expect_same_distribution("erase", c, [&](KeyedRandom& random) {
      return draw_erasing_box(config, c.width, c.height, random).value_or(Window{0, 0, c.width, c.height});
    });
  }
}

TEST(RandomBox, ALineHasACropToo) {
  KeyedRandom random(1, 1, Purpose::kResizedCrop);
  const Window box = draw_crop_box({}, 100000, 1, random);
  EXPECT_GE(box.width, 1);
  EXPECT_EQ(box.height, 1);
}

}  // namespace
}  // namespace muster
