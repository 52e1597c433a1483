#include "dataloader/color.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <vector>

#include "dataloader/color_jitter.h"
#include "tests/support/file_bytes.h"
#include "tests/support/reference_python.h"
#include "tests/support/temporary_folder.h"

namespace muster {
namespace {

// What torchvision does to PIL images, one case after another: operation, amount, width, height, pixels, result.
constexpr char kWriteCases[] = R"(
import struct, sys
import numpy as np
from PIL import Image, ImageEnhance
random = np.random.default_rng(8)

def hue(image, turn):
    h, s, v = image.convert('HSV').split()
    h = np.array(h, dtype=np.uint8)
    h += np.int32(turn * 255).astype(np.uint8)
    return Image.merge('HSV', (Image.fromarray(h, 'L'), s, v)).convert('RGB')

operations = [lambda image, f: ImageEnhance.Brightness(image).enhance(f),
              lambda image, f: ImageEnhance.Contrast(image).enhance(f),
              lambda image, f: ImageEnhance.Color(image).enhance(f),
              hue,
              lambda image, f: Image.merge('RGB', [image.convert('L')] * 3)]
factors = [0, 1, 0.5, 0.1, 0.999, 1.001, 1.7, 3] + list(random.uniform(0, 2.5, 12))
turns = [0, 0.5, -0.5, 0.001, -0.004, 0.25] + list(random.uniform(-0.5, 0.5, 12))
pictures = [random.integers(0, 256, (37, 53, 3)), random.integers(0, 5, (9, 8, 3)), random.integers(250, 256, (1, 1, 3)),
            np.repeat(random.integers(0, 256, (20, 20, 1)), 3, 2), random.integers(0, 3, (50, 50, 3)) * 127]
large = random.integers(0, 256, (600, 600, 3))
with open(sys.argv[1], 'wb') as out:
    for operation, function in enumerate(operations):
        for amount in {3: turns, 4: [0]}.get(operation, factors):
            for pixels in pictures + ([large] if amount in (0.5, 0, 1.7) else []):
                pixels = pixels.astype(np.uint8)
                result = np.asarray(function(Image.fromarray(pixels), amount))
                out.write(struct.pack('<idii', operation, amount, pixels.shape[1], pixels.shape[0]))
                out.write(pixels.tobytes() + result.tobytes())
)";

Image changed(int operation, double amount, Image image) {
  switch (operation) {
    case 0:
      adjust_brightness(image, amount);
      break;
    case 1:
      adjust_contrast(image, amount);
      break;
    case 2:
      adjust_saturation(image, amount);
      break;
    case 3:
      adjust_hue(image, amount);
      break;
    default:
      make_grey(image);
  }
  return image;
}

template <typename T>
T take(const uint8_t*& at) {
  T value;
  std::memcpy(&value, at, sizeof(value));
  at += sizeof(value);
  return value;
}

Image take_image(const uint8_t*& at, int width, int height) {
  Image image = allocate_image(width, height, "test");
  std::memcpy(image.pixels.data(), at, image.pixels.size());
  at += image.pixels.size();
  return image;
}

TEST(Color, EqualsPillowBitForBit) {
  MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON();
  TemporaryFolder folder;
  run_reference_python(kWriteCases, {folder / "cases"});
  const std::vector<uint8_t> cases = read_bytes(folder / "cases");
  int count = 0;
  const uint8_t* const end = cases.data() + cases.size();
  for (const uint8_t* at = cases.data(); at != end; ++count) {
    const auto operation = take<int32_t>(at);
    const auto amount = take<double>(at);
    const auto width = take<int32_t>(at), height = take<int32_t>(at);
    const Image image = take_image(at, width, height);
    const Image expected = take_image(at, width, height);
    ASSERT_EQ(changed(operation, amount, image).pixels, expected.pixels) << operation << " by " << amount;
  }
  EXPECT_EQ(count, (3 * 20 + 18 + 1) * 5 + 3 * 3 + 2 + 1);
}

ColorJitterConfig config(double probability, double brightness, double contrast, double saturation, double hue) {
  ColorJitterConfig result;
  result.set_probability(probability);
  result.set_brightness(brightness);
  result.set_contrast(contrast);
  result.set_saturation(saturation);
  result.set_hue(hue);
  return result;
}

double chi_square(const std::vector<int>& hits) {
  double sum = 0, expected = 0;
  for (const int hit : hits) expected += hit / static_cast<double>(hits.size());
  for (const int hit : hits) sum += std::pow(hit - expected, 2) / expected;
  return sum;
}

TEST(ColorJitter, ChoicesAreUniformOverOrdersAndRanges) {
  const ColorJitter jitter(config(0.25, 0.5, 2, 0.1, 0.3));
  const std::array<double, 4> low = {0.5, 0, 0.9, -0.3}, high = {1.5, 3, 1.1, 0.3};
  std::map<std::array<ColorJitter::Operation, 4>, int> orders;
  std::vector<std::vector<int>> amounts(4, std::vector<int>(20));
  const int tries = 40000;
  int applied = 0;
  for (uint64_t position = 0; position < tries; ++position) {
    const ColorJitter::Choice choice = jitter.choose(KeyedRandom(1, position, Purpose::kColorJitter));
    if (!choice.applied) continue;
    ++applied;
    ++orders[choice.order];
    for (size_t i = 0; i < 4; ++i) {
      ASSERT_GE(choice.amount[i], low[i]);
      ASSERT_LE(choice.amount[i], high[i]);
      ++amounts[i][static_cast<size_t>((choice.amount[i] - low[i]) / (high[i] - low[i]) * 19.999)];
    }
  }
  EXPECT_NEAR(applied, tries / 4, 350);
  ASSERT_EQ(orders.size(), 24U);
  std::vector<int> hits;
  for (const auto& [order, count] : orders) hits.push_back(count);
  EXPECT_LT(chi_square(hits), 53.5);  // 99.97 % of 23 degrees of freedom
  for (const std::vector<int>& amount : amounts) EXPECT_LT(chi_square(amount), 46.0);
}

TEST(ColorJitter, AppliesTheOperationsInTheirOrder) {
  Image image = allocate_image(5, 4, "test");
  for (size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = static_cast<uint8_t>(i * 41 + i * i);
  ColorJitter::Choice choice;
  choice.applied = true;
  choice.order = {ColorJitter::kHue, ColorJitter::kContrast, ColorJitter::kBrightness, ColorJitter::kSaturation};
  choice.amount = {0.7, 1.6, 0.4, 0.2};
  Image ours = image;
  ColorJitter(config(1, 1, 1, 0, 0.5)).apply(choice, ours);
  Image expected = image;
  adjust_hue(expected, 0.2);
  adjust_contrast(expected, 1.6);
  adjust_brightness(expected, 0.7);  // the saturation's strength is 0
  EXPECT_EQ(ours.pixels, expected.pixels);
  EXPECT_FALSE(ColorJitter(config(1, 0, 0, 0, 0)).choose(KeyedRandom(1, 2, Purpose::kColorJitter)).applied);
}

}  // namespace
}  // namespace muster
