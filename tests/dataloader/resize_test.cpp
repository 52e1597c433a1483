#include "dataloader/resize.h"

#include <gtest/gtest.h>

#include <cstring>
#include <stdexcept>

#include "dataloader/random.h"
#include "tests/support/file_bytes.h"
#include "tests/support/reference_python.h"
#include "tests/support/temporary_folder.h"

namespace muster {
namespace {

// Writes cases one after another: in width, in height, out width, out height, filter, pixels, Pillow's pixels.
constexpr char kWriteCases[] = R"(
import struct, sys
import numpy as np
from PIL import Image
random = np.random.default_rng(6)
pairs = [((96, 96), (64, 64)), ((96, 96), (224, 224)), ((640, 480), (224, 224)), ((1, 1), (5, 7)), ((5, 7), (1, 1)),
         ((1, 50), (3, 3)), ((50, 1), (17, 1)), ((33, 65), (33, 20)), ((33, 65), (21, 65)), ((33, 65), (33, 65)),
         ((384, 128), (128, 384)), ((1000, 3), (7, 9)), ((17, 19), (16, 18)), ((900, 700), (64, 48)), ((2, 2), (101, 99))]
pairs += [(random.integers(1, 130, 2), random.integers(1, 130, 2)) for _ in range(60)]
with open(sys.argv[1], 'wb') as out:
    for (width, height), size in pairs:
        for bicubic in (0, 1):
            noise = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
            for pixels in (noise, (noise // 128 * 255).astype(np.uint8)):  # black and white overshoot and are clipped
                size = tuple(map(int, size))
                resized = Image.fromarray(pixels).resize(size, Image.BICUBIC if bicubic else Image.BILINEAR)
                out.write(struct.pack('5i', width, height, *size, bicubic))
                out.write(pixels.tobytes() + np.asarray(resized).tobytes())
)";

struct Cursor {
  const uint8_t* at;
  int number() {
    int value;
    std::memcpy(&value, at, sizeof(value));
    at += sizeof(value);
    return value;
  }
  Image image(int width, int height) {
    Image image = allocate_image(width, height, "test");
    std::memcpy(image.pixels.data(), at, image.pixels.size());
    at += image.pixels.size();
    return image;
  }
};

TEST(Resize, EqualsPillowBitForBit) {
  MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON();
  TemporaryFolder folder;
  run_reference_python(kWriteCases, {folder / "cases"});
  const std::vector<uint8_t> cases = read_bytes(folder / "cases");
  int count = 0;
  for (Cursor cursor{cases.data()}; cursor.at != cases.data() + cases.size(); ++count) {
    const int in_width = cursor.number();
    const int in_height = cursor.number();
    const int width = cursor.number();
    const int height = cursor.number();
    const Filter filter = cursor.number() == 1 ? Filter::kBicubic : Filter::kBilinear;
    const Image image = cursor.image(in_width, in_height);
    const Image expected = cursor.image(width, height);
    const Image resized = resize(image, width, height, filter);
    ASSERT_EQ(resized.width, width);
    ASSERT_EQ(resized.height, height);
    ASSERT_EQ(resized.pixels, expected.pixels) << in_width << "x" << in_height << " to " << width << "x" << height;
  }
  EXPECT_EQ(count, 300);
}

TEST(Resize, AWindowIsAPartOfTheWhole) {
  KeyedRandom random(1, 0, Purpose::kSynth);
  Image image = allocate_image(37, 53, "test");
  for (uint8_t& value : image.pixels) value = static_cast<uint8_t>(random.next_below(256));
  for (const auto& [width, height] : {std::pair(20, 90), std::pair(37, 53), std::pair(37, 21), std::pair(100, 53)}) {
    const Image whole = resize(image, width, height, Filter::kBicubic);
    const Window window{3, 5, width - 9, height - 12};
    const Image part = resize(image, width, height, Filter::kBicubic, window);
    ASSERT_EQ(part.width, window.width);
    ASSERT_EQ(part.height, window.height);
    for (int y = 0; y < window.height; ++y) {
      const auto row = static_cast<size_t>((y + window.y) * width + window.x) * 3;
      const auto part_row = static_cast<size_t>(y * window.width) * 3;
      ASSERT_EQ(std::memcmp(&whole.pixels[row], &part.pixels[part_row], static_cast<size_t>(window.width) * 3), 0);
    }
  }
}

TEST(Resize, RefusesWindowsOutside) {
  const Image image = allocate_image(4, 4, "test");
  EXPECT_THROW(resize(image, 8, 8, Filter::kBicubic, {0, 0, 9, 8}), std::logic_error);
  EXPECT_THROW(resize(image, 8, 8, Filter::kBicubic, {-1, 0, 2, 2}), std::logic_error);
  EXPECT_THROW(resize(image, 8, 8, Filter::kBicubic, {0, 7, 2, 2}), std::logic_error);
  EXPECT_THROW(resize(image, 0, 8, Filter::kBicubic), std::logic_error);
}

}  // namespace
}  // namespace muster
