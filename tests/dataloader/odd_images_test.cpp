// What an image file becomes at the model's size, beside Pillow: files of every kind that people have.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>

#include "dataloader/resize.h"
#include "launch/error.h"
#include "tests/support/file_bytes.h"
#include "tests/support/reference_python.h"
#include "tests/support/temporary_folder.h"

namespace muster {
namespace {

// Writes KIND.N.jpg or .png, and beside each what Pillow makes of it: decoded, and resized to three sizes. Rules: alpha
// and transparent colours are dropped, the orientation in EXIF is not applied, 16 bits become 8 by their high byte.
constexpr char kWritePictures[] = R"(
import os, struct, sys, warnings, zlib
import numpy as np
from PIL import Image, ImageFilter
warnings.simplefilter('ignore')
folder = sys.argv[1]
random = np.random.default_rng(12)
sizes = [(1, 1), (1, 300), (300, 1), (4000, 3), (2, 900), (37, 53), (320, 240)]
number = 0

def finish(path):
    image = Image.open(path)
    if image.mode.startswith('I'):  # 16-bit grey, which convert('RGB') would clip at 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    image = image.convert('RGB')
    results = [image] + [image.resize(size, filter) for size, filter in
                         (((224, 224), Image.BICUBIC), ((64, 192), Image.BILINEAR), ((5, 7), Image.BICUBIC))]
    with open(path + '.rgb', 'wb') as out:
        for result in results:
            out.write(struct.pack('2i', *result.size) + result.tobytes())

def save(kind, ending, image, **options):
    global number
    number += 1
    path = os.path.join(folder, '%s.%d.%s' % (kind, number, ending))
    image.save(path, **options)
    finish(path)

def chunk(kind, data):
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))

def png(kind, width, height, depth, colour, interlaced):
    global number
    number += 1
    adam7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    rows = b''
    for x0, y0, dx, dy in adam7 if interlaced else ((0, 0, 1, 1),):
        columns = len(range(x0, width, dx))
        for y in range(y0, height, dy):
            if columns:
                rows += bytes([random.integers(0, 5)]) + random.bytes(columns * {0: 1, 2: 3, 6: 4}[colour] * depth // 8)
    data = b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, depth, colour, 0, 0, interlaced))
    data += chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b'')
    path = os.path.join(folder, '%s.%d.png' % (kind, number))
    with open(path, 'wb') as out:
        out.write(data)
    finish(path)

for size in sizes:
    noise = Image.fromarray(random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    image = noise.filter(ImageFilter.GaussianBlur(1))
    alpha = image.copy()
    alpha.putalpha(Image.fromarray(random.integers(0, 256, (size[1], size[0]), dtype=np.uint8)))
    exif = Image.Exif()
    exif[0x112] = int(random.choice([2, 3, 6, 8]))
    save('jpeg-grey', 'jpg', image.convert('L'))
    save('jpeg-444', 'jpg', image, subsampling='4:4:4', quality=95)
    save('jpeg-420', 'jpg', image, subsampling='4:2:0')
    save('jpeg-progressive', 'jpg', image, progressive=True, quality=30)
    save('jpeg-cmyk', 'jpg', image.convert('CMYK'))
    save('jpeg-turned-by-exif', 'jpg', image, exif=exif)
    save('png-bits', 'png', image.convert('1'))
    save('png-grey', 'png', image.convert('L'))
    save('png-grey-alpha', 'png', alpha.convert('LA'))
    save('png-alpha', 'png', alpha)
    save('png-palette', 'png', image.quantize(17))
    save('png-palette-one-transparent', 'png', image.quantize(17), transparency=3)
    save('png-palette-alpha', 'png', image.quantize(17), transparency=bytes(range(17)))
    save('png-grey-16-bit', 'png', Image.fromarray(random.integers(0, 65536, (size[1], size[0]), dtype=np.uint16)))
    png('png-16-bit', *size, 16, 2, 0)
    png('png-16-bit-alpha', *size, 16, 6, 0)
    png('png-interlaced', *size, 8, 2, 1)
    png('png-interlaced-alpha', *size, 8, 6, 1)
)";

struct Cursor {
  const uint8_t* at;

  Image image() {
    int32_t size[2];
    std::memcpy(size, at, sizeof(size));
    Image image = allocate_image(size[0], size[1], "test");
    std::memcpy(image.pixels.data(), at + sizeof(size), image.pixels.size());
    at += sizeof(size) + image.pixels.size();
    return image;
  }
};

int largest_difference(const Image& a, const Image& b) {
  int most = 0;
  for (size_t i = 0; i < a.pixels.size(); ++i) most = std::max(most, std::abs(a.pixels[i] - b.pixels[i]));
  return most;
}

void compare(const std::string& path, int most_allowed) {
  const std::vector<uint8_t> bytes = read_bytes(path), expected = read_bytes(path + ".rgb");
  Cursor cursor{expected.data()};
  const Image decoded = cursor.image();
  const Image ours = decode_image(bytes.data(), bytes.size(), path);
  ASSERT_EQ(ours.width, decoded.width) << path;
  ASSERT_EQ(ours.height, decoded.height) << path;
  EXPECT_LE(largest_difference(ours, decoded), most_allowed) << path;
  for (const Filter filter : {Filter::kBicubic, Filter::kBilinear, Filter::kBicubic}) {
    const Image resized = cursor.image();
    // Of Pillow's own pixels, so that the resize is held to bit equality whatever the decoder does.
    EXPECT_EQ(resize(decoded, resized.width, resized.height, filter).pixels, resized.pixels) << path;
  }
  EXPECT_EQ(cursor.at, expected.data() + expected.size());
}

TEST(OddImages, DecodedAndResizedEqualPillow) {
  MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON();
  TemporaryFolder folder;
  run_reference_python(kWritePictures, {folder.path()});
  std::map<std::string, int> kinds;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    const std::string name = entry.path().filename();
    if (entry.path().extension() == ".rgb") continue;
    ++kinds[name.substr(0, name.find('.'))];
    compare(entry.path(), entry.path().extension() == ".jpg" ? 2 : 0);
  }
  EXPECT_EQ(kinds.size(), 18U);
  for (const auto& [kind, files] : kinds) EXPECT_EQ(files, 7) << kind;
}

// Formats that Pillow reads and Muster does not, and files that only begin well.
constexpr char kWriteRefused[] = R"(
import os, sys
import numpy as np
from PIL import Image
folder = sys.argv[1]
image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8))
for ending in ('gif', 'bmp', 'tiff', 'ppm', 'tga'):
    image.save(os.path.join(folder, 'picture.' + ending))
for ending in ('jpg', 'png'):
    path = os.path.join(folder, 'short.' + ending)
    image.save(path)
    data = open(path, 'rb').read()
    open(path, 'wb').write(data[:len(data) // 2])
)";

TEST(OddImages, WhatIsNotReadIsRefusedInOneLine) {
  MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON();
  TemporaryFolder folder;
  run_reference_python(kWriteRefused, {folder.path()});
  int refused = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    const std::vector<uint8_t> bytes = read_bytes(entry.path());
    try {
      decode_image(bytes.data(), bytes.size(), entry.path().filename());
      ADD_FAILURE() << entry.path();
    } catch (const DataError& error) {
      const std::string line = error.what();
      EXPECT_EQ(line.find('\n'), std::string::npos) << line;
      EXPECT_THAT(line, testing::StartsWith(entry.path().filename().string() + ": "));
      EXPECT_THAT(line, testing::HasSubstr(": "));
      EXPECT_THAT(line, testing::AnyOf(testing::HasSubstr("replace the file"), testing::HasSubstr("convert it")));
      ++refused;
    }
  }
  EXPECT_EQ(refused, 7);
}

}  // namespace
}  // namespace muster
