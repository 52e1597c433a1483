#include "dataloader/transforms.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>

#include "dataloader/color.h"
#include "dataloader/dataloader.pb.h"
#include "dataloader/random.h"
#include "dataloader/random_box.h"
#include "launch/error.h"
#include "tests/support/file_bytes.h"
#include "tests/support/reference_python.h"
#include "tests/support/temporary_folder.h"

namespace muster {
namespace {

Image random_image(int width, int height) {
  KeyedRandom random(3, static_cast<uint64_t>(width * 1000 + height), Purpose::kSynth);
  Image image = allocate_image(width, height, "test");
  for (uint8_t& value : image.pixels) value = static_cast<uint8_t>(random.next_below(256));
  return image;
}

std::vector<float> evaluate(const ImageTransform& transform, const Image& image) {
  std::vector<float> out(static_cast<size_t>(transform.floats()));
  transform.evaluate(image, out.data());
  return out;
}

std::vector<float> train(const ImageTransform& transform, const Image& image, uint64_t seed, uint64_t position) {
  std::vector<float> out(static_cast<size_t>(transform.floats()));
  transform.train(image, seed, position, out.data());
  return out;
}

TEST(Transforms, PixelsComeBack) {
  const ImageTransform transform(ImageTransformConfig(), 7, 5);
  const Image image = random_image(7, 5);
  std::vector<float> values = evaluate(transform, image);
  EXPECT_EQ(transform.to_image(values.data()).pixels, image.pixels);
  for (float& value : values) value = value > 0 ? 1e6F : -1e6F;
  for (const uint8_t pixel : transform.to_image(values.data()).pixels) EXPECT_TRUE(pixel == 0 || pixel == 255);
}

// torchvision's Resize, CenterCrop, ToTensor and Normalize, in Pillow and NumPy.
constexpr char kTorchvision[] = R"(
import sys
import numpy as np
from PIL import Image
in_path, out_path = sys.argv[1:3]
in_width, in_height, width, height, crop = map(int, sys.argv[3:])
image = Image.fromarray(np.fromfile(in_path, np.uint8).reshape(in_height, in_width, 3))
if crop:
    short, long = sorted((in_width, in_height))
    new = int(width * long / short)
    image = image.resize((width, new) if in_width <= in_height else (new, width), Image.BICUBIC)
    left, top = int(round((image.width - width) / 2.0)), int(round((image.height - height) / 2.0))
    image = image.crop((left, top, left + width, top + height))
else:
    image = image.resize((width, height), Image.BICUBIC)
pixels = np.asarray(image).transpose(2, 0, 1).astype(np.float32) / np.float32(255)
mean = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)[:, None, None]
std = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)[:, None, None]
((pixels - mean) / std).tofile(out_path)
)";

void expect_equal_to_torchvision(int in_width, int in_height, int width, int height, bool crop) {
  TemporaryFolder folder;
  const Image image = random_image(in_width, in_height);
  write_bytes(folder / "in", image.pixels);
  run_reference_python(kTorchvision,
                       {folder / "in", folder / "out", std::to_string(in_width), std::to_string(in_height),
                        std::to_string(width), std::to_string(height), crop ? "1" : "0"});
  ImageTransformConfig config;
  if (crop) config.set_fit(ImageTransformConfig::CENTER_CROP);
  const std::vector<float> ours = evaluate(ImageTransform(config, width, height), image);
  const std::vector<uint8_t> expected = read_bytes(folder / "out");
  ASSERT_EQ(expected.size(), ours.size() * sizeof(float));
  EXPECT_EQ(std::memcmp(ours.data(), expected.data(), expected.size()), 0);
}

TEST(ImageTransform, StretchEqualsTorchvisionBitForBit) {
  MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON();
  expect_equal_to_torchvision(96, 96, 64, 64, false);
  expect_equal_to_torchvision(50, 70, 32, 96, false);
}

TEST(ImageTransform, CenterCropEqualsTorchvisionBitForBit) {
  MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON();
  // 1, 2 and 3 pixels remain beside the crop: halves are rounded to even.
  for (const int longer : {67, 68, 70}) {
    expect_equal_to_torchvision(64, longer, 32, 32, true);
    expect_equal_to_torchvision(longer, 32, 32, 32, true);
  }
}

TEST(ImageTransform, CenterCropCoversAModelThatIsNotSquare) {
  ImageTransformConfig config;
  config.set_fit(ImageTransformConfig::CENTER_CROP);
  const Image image = random_image(20, 40);
  // To 10 x 16: the width decides, 10 x 20, rows 2 .. 17 are kept. To 30 x 80: the height decides, 40 x 80.
  const Image narrow = resize(image, 10, 20, Filter::kBicubic, {0, 2, 10, 16});
  EXPECT_EQ(evaluate(ImageTransform(config, 10, 16), image), evaluate(ImageTransform({}, 10, 16), narrow));
  const Image tall = resize(image, 40, 80, Filter::kBicubic, {5, 0, 30, 80});
  EXPECT_EQ(evaluate(ImageTransform(config, 30, 80), image), evaluate(ImageTransform({}, 30, 80), tall));
}

TEST(ImageTransform, WithoutAugmentationTrainingIsEvaluation) {
  const ImageTransform transform({}, 16, 12);
  const Image image = random_image(20, 20);
  EXPECT_EQ(train(transform, image, 1, 2), evaluate(transform, image));
}

// The output that padding by black, cropping at (dx, dy) and mirroring must give, element by element.
std::vector<float> place(const std::vector<float>& fitted, const std::vector<float>& black, int width, int height,
                         int dx, int dy, bool mirrored) {
  std::vector<float> out;
  for (size_t channel = 0; channel < 3; ++channel) {
    for (int y = 0; y < height; ++y) {
      for (int x = 0; x < width; ++x) {
        const int from_x = (mirrored ? width - 1 - x : x) + dx;
        const int from_y = y + dy;
        const bool inside = from_x >= 0 && from_x < width && from_y >= 0 && from_y < height;
        const size_t from =
            (channel * static_cast<size_t>(height) + static_cast<size_t>(from_y)) * static_cast<size_t>(width) +
            static_cast<size_t>(from_x);
        out.push_back(inside ? fitted[from] : black[channel]);
      }
    }
  }
  return out;
}

TEST(ImageTransform, PadCropAndFlipReachEveryPlaceEquallyOften) {
  ImageTransformConfig config;
  config.set_flip(true);
  config.set_pad_crop(2);
  const ImageTransform transform(config, 7, 5);
  const Image image = random_image(9, 9);
  const std::vector<float> fitted = evaluate(transform, image);
  const std::vector<float> black = evaluate(ImageTransform({}, 1, 1), allocate_image(1, 1, "black"));
  std::map<std::vector<float>, int> hits;
  for (const bool mirrored : {false, true}) {
    for (int dx = -2; dx <= 2; ++dx) {
      for (int dy = -2; dy <= 2; ++dy) hits[place(fitted, black, 7, 5, dx, dy, mirrored)] = 0;
    }
  }
  ASSERT_EQ(hits.size(), 50U);
  const int tries = 10000;
  for (uint64_t position = 0; position < tries; ++position) {
    const auto hit = hits.find(train(transform, image, 8, position));
    ASSERT_NE(hit, hits.end());
    ++hit->second;
  }
  double chi_square = 0;
  for (const auto& [output, count] : hits) chi_square += std::pow(count - tries / 50, 2) / (tries / 50);
  EXPECT_LT(chi_square, 85.4);  // 99.9 % of 49 degrees of freedom
}

TEST(ImageTransform, ChoicesDependOnSeedAndPositionOnly) {
  ImageTransformConfig config;
  config.set_pad_crop(6);
  const ImageTransform transform(config, 16, 16);
  const Image image = random_image(16, 16);
  EXPECT_EQ(train(transform, image, 1, 1), train(ImageTransform(config, 16, 16), image, 1, 1));
  int same = 0;
  for (uint64_t position = 2; position < 12; ++position) {
    same += train(transform, image, 1, 1) == train(transform, image, 1, position) ? 1 : 0;
    same += train(transform, image, 1, 1) == train(transform, image, position, 1) ? 1 : 0;
  }
  EXPECT_LE(same, 1);
}

TEST(ImageTransform, FlipDoesNotMoveTheCrop) {
  ImageTransformConfig config;
  config.set_pad_crop(3);
  const ImageTransform plain(config, 8, 8);
  config.set_flip(true);
  const ImageTransform flipping(config, 8, 8);
  const Image image = random_image(8, 8);
  int equal = 0;
  for (uint64_t position = 0; position < 100; ++position) {
    equal += train(plain, image, 0, position) == train(flipping, image, 0, position) ? 1 : 0;
  }
  EXPECT_NEAR(equal, 50, 17);
}

// Each augmentation by itself, made again from its own parts.
TEST(ImageTransform, ResizedCropResizesTheDrawnPart) {
  ImageTransformConfig config;
  config.mutable_resized_crop()->set_probability(0.5);
  const ImageTransform transform(config, 16, 12);
  const ImageTransform plain({}, 16, 12);
  const Image image = random_image(40, 30);
  int cropped = 0;
  for (uint64_t position = 0; position < 200; ++position) {
    KeyedRandom random(4, position, Purpose::kResizedCrop);
    if (random.next_double() < 0.5) {
      ++cropped;
      const Window box = draw_crop_box(config.resized_crop(), 40, 30, random);
      Image part = allocate_image(box.width, box.height, "part");
      for (int y = 0; y < box.height; ++y) {
        for (int x = 0; x < box.width * 3; ++x) {
          part.pixels[static_cast<size_t>(y * box.width * 3 + x)] =
              image.pixels[static_cast<size_t>((y + box.y) * 40 * 3 + box.x * 3 + x)];
        }
      }
      ASSERT_EQ(train(transform, image, 4, position), evaluate(plain, part)) << position;
    } else {
      ASSERT_EQ(train(transform, image, 4, position), evaluate(plain, image)) << position;
    }
  }
  EXPECT_NEAR(cropped, 100, 35);
}

TEST(ImageTransform, ColoursChangeBeforePadding) {
  ImageTransformConfig config;
  ColorJitterConfig& jitter = *config.mutable_color_jitter();
  jitter.set_brightness(0.4);
  jitter.set_contrast(0.4);
  jitter.set_saturation(0.4);
  jitter.set_hue(0.1);
  config.set_grey(0.3);
  ImageTransformConfig padded = config;
  padded.set_pad_crop(3);
  padded.set_flip(true);
  ImageTransformConfig only_padded;
  only_padded.set_pad_crop(3);
  only_padded.set_flip(true);
  const Image image = random_image(16, 12);  // of the model's size, so that it is not resized
  int grey = 0;
  for (uint64_t position = 0; position < 100; ++position) {
    Image changed = image;
    const ColorJitter parts(jitter);
    parts.apply(parts.choose(KeyedRandom(5, position, Purpose::kColorJitter)), changed);
    if (KeyedRandom(5, position, Purpose::kGrey).next_double() < 0.3) {
      make_grey(changed);
      ++grey;
    }
    ASSERT_EQ(train(ImageTransform(config, 16, 12), image, 5, position), evaluate(ImageTransform({}, 16, 12), changed));
    ASSERT_EQ(train(ImageTransform(padded, 16, 12), image, 5, position),
              train(ImageTransform(only_padded, 16, 12), changed, 5, position));
  }
  EXPECT_NEAR(grey, 30, 23);
}

TEST(ImageTransform, ErasingOverwritesTheNormalisedImage) {
  ImageTransformConfig config;
  config.set_pad_crop(2);
  const ImageTransform plain(config, 16, 12);
  config.mutable_erasing()->set_probability(0.5);
  const ImageTransform zeros(config, 16, 12);
  config.mutable_erasing()->set_noise(true);
  const ImageTransform noisy(config, 16, 12);
  config.mutable_erasing()->set_noise(false);
  for (const float value : {0.1F, 0.2F, 0.3F}) config.mutable_erasing()->add_value(value);
  const ImageTransform valued(config, 16, 12);
  const Image image = random_image(16, 12);
  double noise_sum = 0, noise_squares = 0;
  int erased = 0, noise_count = 0;
  for (uint64_t position = 0; position < 400; ++position) {
    KeyedRandom random(6, position, Purpose::kErasing);
    std::optional<Window> box;
    if (random.next_double() < 0.5) box = draw_erasing_box(config.erasing(), 16, 12, random);
    erased += box ? 1 : 0;
    const std::vector<float> before = train(plain, image, 6, position);
    const std::vector<float> with_zeros = train(zeros, image, 6, position);
    const std::vector<float> with_values = train(valued, image, 6, position);
    const std::vector<float> with_noise = train(noisy, image, 6, position);
    for (int i = 0; i < 3 * 12 * 16; ++i) {
      const auto at = static_cast<size_t>(i);
      const int x = i % 16, y = i / 16 % 12, channel = i / (16 * 12);
      const bool inside = box && x >= box->x && x < box->x + box->width && y >= box->y && y < box->y + box->height;
      ASSERT_EQ(with_zeros[at], inside ? 0 : before[at]);
      ASSERT_EQ(with_values[at], inside ? 0.1F * static_cast<float>(channel + 1) : before[at]);
      if (!inside) {
        ASSERT_EQ(with_noise[at], before[at]);
        continue;
      }
      noise_sum += with_noise[at];
      noise_squares += with_noise[at] * with_noise[at];
      ++noise_count;
    }
  }
  EXPECT_NEAR(erased, 200, 50);
  ASSERT_GT(noise_count, 5000);
  EXPECT_NEAR(noise_sum / noise_count, 0, 0.05);
  EXPECT_NEAR(noise_squares / noise_count, 1, 0.07);
}

TEST(ImageTransform, OwnMeanAndStd) {
  ImageTransformConfig config;
  for (const float value : {0.5F, 0.25F, 0.0F}) config.add_mean(value);
  for (const float value : {0.5F, 2.0F, 1.0F}) config.add_std(value);
  Image white = allocate_image(1, 1, "white");
  white.pixels = {255, 255, 255};
  EXPECT_EQ(evaluate(ImageTransform(config, 1, 1), white), (std::vector<float>{1.0F, 0.375F, 1.0F}));
}

TEST(ImageTransform, RefusesConfigsThatCannotWork) {
  ImageTransformConfig config;
  config.add_mean(0.5F);
  EXPECT_THROW(ImageTransform(config, 8, 8), ConfigError);
  config.Clear();
  for (int i = 0; i < 3; ++i) config.add_std(0);
  EXPECT_THROW(ImageTransform(config, 8, 8), ConfigError);
  config.Clear();
  config.mutable_erasing()->add_value(1);
  EXPECT_THROW(ImageTransform(config, 8, 8), ConfigError);
  config.Clear();
  config.set_pad_crop(8);
  EXPECT_THROW(ImageTransform(config, 8, 16), ConfigError);
  config.set_pad_crop(-1);
  EXPECT_THROW(ImageTransform(config, 8, 16), ConfigError);
}

TEST(ImageTransform, RefusesToCropALine) {
  ImageTransformConfig config;
  config.set_fit(ImageTransformConfig::CENTER_CROP);
  const ImageTransform transform(config, 64, 64);
  std::vector<float> out(static_cast<size_t>(transform.floats()));
  EXPECT_THROW(transform.evaluate(allocate_image(1, 1 << 20, "line"), out.data()), DataError);
}

}  // namespace
}  // namespace muster
