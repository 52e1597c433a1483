#include "dataloader/image.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <png.h>
#include <turbojpeg.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "dataloader/decoder_complaints.h"
#include "dataloader/random.h"
#include "launch/error.h"
#include "tests/support/file_bytes.h"
#include "tests/support/reference_python.h"
#include "tests/support/temporary_folder.h"

namespace muster {
namespace {

using testing::HasSubstr;

Image random_image(int width, int height, uint64_t seed) {
  KeyedRandom random(seed, 0, Purpose::kSynth);
  Image image = allocate_image(width, height, "test");
  for (uint8_t& value : image.pixels) value = static_cast<uint8_t>(random.next_below(256));
  return image;
}

std::vector<uint8_t> encode_with(const Image& image, int sampling) {
  const tjhandle handle = tjInitCompress();
  unsigned char* bytes = nullptr;
  unsigned long size = 0;
  if (tjCompress2(handle, image.pixels.data(), image.width, 0, image.height, TJPF_RGB, &bytes, &size, sampling, 90,
                  TJFLAG_ACCURATEDCT) != 0) {
    std::abort();
  }
  const std::vector<uint8_t> result(bytes, bytes + size);
  tjFree(bytes);
  tjDestroy(handle);
  return result;
}

std::vector<uint8_t> encode_png(const Image& image) {
  png_image png{};
  png.version = PNG_IMAGE_VERSION;
  png.width = static_cast<png_uint_32>(image.width);
  png.height = static_cast<png_uint_32>(image.height);
  png.format = PNG_FORMAT_RGB;
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(png);
  std::vector<uint8_t> bytes(size);
  if (png_image_write_to_memory(&png, bytes.data(), &size, 0, image.pixels.data(), 0, nullptr) == 0) std::abort();
  bytes.resize(size);
  return bytes;
}

Image decode(const std::vector<uint8_t>& bytes) {
  return decode_image(bytes.data(), bytes.size(), "picture");
}

std::string error_of(const std::vector<uint8_t>& bytes) {
  try {
    decode(bytes);
  } catch (const DataError& error) {
    return error.what();
  }
  return "";
}

// Writes pictures as N.jpg and N.png, and beside each Pillow's own pixels as .rgb.
constexpr char kWritePictures[] = R"(
import os, struct, sys, warnings, zlib
import numpy as np
from PIL import Image, ImageFilter
warnings.simplefilter('ignore')
folder, kind = sys.argv[1:]
random = np.random.default_rng(5)
number = 0

def finish(path, pixels=None):
    if pixels is None:
        pixels = np.asarray(Image.open(path).convert('RGB'))
    with open(path + '.rgb', 'wb') as out:
        out.write(struct.pack('2i', pixels.shape[1], pixels.shape[0]) + pixels.astype(np.uint8).tobytes())

def name(ending):
    global number
    number += 1
    return os.path.join(folder, '%d.%s' % (number, ending))

def jpegs():
    for width, height in ((96, 96), (97, 63), (1, 1), (7, 5), (17, 1), (131, 200)):
        noise = Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))
        image = noise.filter(ImageFilter.GaussianBlur(1))
        for quality in (30, 90, 100):
            for progressive in (False, True):
                saves = [(image, dict(subsampling=s)) for s in ('4:4:4', '4:2:2', '4:2:0')]
                saves += [(image.convert('L'), {}), (image.convert('CMYK'), {})]
                saves += [(image, dict(keep_rgb=True)), (image, dict(restart_marker_blocks=1))]
                exif = Image.Exif()
                exif[0x112] = 6
                saves += [(image, dict(exif=exif))]
                for picture, options in saves:
                    path = name('jpg')
                    picture.save(path, quality=quality, progressive=progressive, **options)
                    finish(path)

    # Sampling factors that have no name. CMYK's components share their tables, so the 8 blocks of 16 x 8 pixels are as
    # well those of 16 x 16 pixels with every component halved in one direction.
    path = name('jpg')
    image.convert('CMYK').resize((16, 8)).save(path)
    data = bytearray(open(path, 'rb').read())
    frame = data.index(b'\xff\xc0')
    data[frame + 6] = 16
    data[frame + 11:frame + 23:3] = b'\x21\x12\x21\x12'
    with open(path, 'wb') as out:
        out.write(data)
    finish(path)

def chunk(kind, data):
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))

def png(width, height, depth, colour, passes, transparent):
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    rows = b''
    for x0, y0, dx, dy in passes:
        columns = len(range(x0, width, dx))
        for y in range(y0, height, dy):
            if columns:
                rows += bytes([random.integers(0, 5)]) + random.bytes((columns * channels * depth + 7) // 8)
    data = b'\x89PNG\r\n\x1a\n'
    data += chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, depth, colour, 0, 0, len(passes) > 1))
    data += chunk(b'gAMA', struct.pack('>I', 30000))
    if colour == 3:
        data += chunk(b'PLTE', random.bytes(3 << depth))
    if transparent:
        data += chunk(b'tRNS', {0: b'\0\1', 2: b'\0\1\0\2\0\3', 3: b'\0\x80'}[colour])
    return data + chunk(b'tEXt', b'Comment\0words') + chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b'')

adam7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))

def pngs():
    for colour, depths in ((0, (1, 2, 4, 8, 16)), (2, (8, 16)), (3, (1, 2, 4, 8)), (4, (8, 16)), (6, (8, 16))):
        for depth in depths:
            for passes in (((0, 0, 1, 1),), adam7):
                for width, height in ((1, 1), (13, 9), (64, 41)):
                    for transparent in ((False, True) if colour in (0, 2, 3) else (False,)):
                        path = name('png')
                        with open(path, 'wb') as out:
                            out.write(png(width, height, depth, colour, passes, transparent))
                        if (colour, depth) == (0, 16):  # Pillow clips these at 255
                            high = np.asarray(Image.open(path)) >> 8
                            finish(path, np.stack([high] * 3, -1))
                        else:
                            finish(path)

jpegs() if kind == 'jpeg' else pngs()
)";

void expect_equal_to_pillow(const std::string& kind, size_t at_least) {
  TemporaryFolder folder;
  run_reference_python(kWritePictures, {folder.path(), kind});
  size_t compared = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    if (entry.path().extension() != ".rgb") continue;
    const std::vector<uint8_t> expected = read_bytes(entry.path());
    const std::string picture = entry.path().parent_path() / entry.path().stem();
    const Image image = decode(read_bytes(picture));
    int size[2];
    std::memcpy(size, expected.data(), sizeof(size));
    ASSERT_EQ(image.width, size[0]) << picture;
    ASSERT_EQ(image.height, size[1]) << picture;
    ASSERT_TRUE(std::equal(image.pixels.begin(), image.pixels.end(), expected.begin() + sizeof(size), expected.end()))
        << picture;
    ++compared;
  }
  EXPECT_GE(compared, at_least);
}

TEST(DecodeImage, JpegsOfEveryKindEqualPillow) {
  MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON();
  expect_equal_to_pillow("jpeg", 289);
}

TEST(DecodeImage, PngsOfEveryKindEqualPillow) {
  MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON();
  expect_equal_to_pillow("png", 150);
}

// Samplings that Pillow reads but does not write.
TEST(DecodeImage, OtherSamplingsEqualPillow) {
  MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON();
  TemporaryFolder folder;
  const Image image = random_image(45, 31, 3);
  for (const int sampling : {TJSAMP_440, TJSAMP_411}) {
    const std::vector<uint8_t> jpeg = encode_with(image, sampling);
    write_bytes(folder / "1.jpg", jpeg);
    run_reference_python(
        "import sys\nimport numpy as np\nfrom PIL import Image\n"
        "np.asarray(Image.open(sys.argv[1]).convert('RGB')).tofile(sys.argv[2])",
        {folder / "1.jpg", folder / "1.rgb"});
    EXPECT_EQ(decode(jpeg).pixels, read_bytes(folder / "1.rgb"));
  }
}

TEST(EncodeJpeg, DecodesToWhatPillowWrites) {
  MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON();
  TemporaryFolder folder;
  const Image image = random_image(45, 30, 1);
  write_bytes(folder / "in.rgb", image.pixels);
  run_reference_python(
      "import sys\nimport numpy as np\nfrom PIL import Image\n"
      "pixels = np.fromfile(sys.argv[1], np.uint8).reshape(30, 45, 3)\n"
      "Image.fromarray(pixels).save(sys.argv[2], quality=90)",
      {folder / "in.rgb", folder / "out.jpg"});
  EXPECT_EQ(decode(encode_jpeg(image, 90)).pixels, decode(read_bytes(folder / "out.jpg")).pixels);
}

TEST(DecodeImage, WhatIsNoImageIsNamed) {
  EXPECT_THAT(error_of({}), HasSubstr("picture: not a JPEG or PNG image (0 bytes)"));
  EXPECT_THAT(error_of({'G', 'I', 'F', '8', '9', 'a'}), HasSubstr("not a JPEG or PNG"));
}

TEST(DecodeImage, EveryTruncationIsAnErrorAndTheNextImageIsFine) {
  const Image image = random_image(24, 16, 2);
  const std::vector<uint8_t> jpeg = encode_jpeg(image, 90);
  const Image good = decode(jpeg);
  for (size_t size = 0; size < jpeg.size(); size += 3) {
    const std::vector<uint8_t> cut(jpeg.begin(), jpeg.begin() + static_cast<ptrdiff_t>(size));
    EXPECT_THAT(error_of(cut), HasSubstr("picture: ")) << size;
  }
  EXPECT_EQ(decode(jpeg).pixels, good.pixels);
}

int refusals_of_damaged(const std::vector<uint8_t>& bytes, int tries) {
  KeyedRandom random(4, 0, Purpose::kSynth);
  int refused = 0;
  for (int i = 0; i < tries; ++i) {
    std::vector<uint8_t> damaged = bytes;
    for (int flips = 0; flips < 3; ++flips) {
      damaged[random.next_below(damaged.size())] ^= static_cast<uint8_t>(1U << random.next_below(8));
    }
    refused += error_of(damaged).empty() ? 0 : 1;
  }
  return refused;
}

TEST(DecodeImage, DamagedJpegsNeverCrash) {
  // Many a flip only changes pixels.
  EXPECT_GT(refusals_of_damaged(encode_jpeg(random_image(24, 16, 2), 90), 2000), 200);
}

// Bytes that belong nowhere change no pixel; a bit that is wrong changes some.
TEST(DecodeImage, WhatLibjpegOnlyWarnsOfIsCounted) {
  const std::vector<uint8_t> jpeg = encode_jpeg(random_image(24, 16, 2), 90);
  const auto complaints_of = [](const std::vector<uint8_t>& bytes) {
    Complaints complaints{7, "of another image"};
    decode_image(bytes.data(), bytes.size(), "picture", complaints);
    return complaints;
  };
  EXPECT_EQ(complaints_of(jpeg).count, 0);
  EXPECT_EQ(complaints_of(encode_png(random_image(4, 4, 1))).first, "");
  std::vector<uint8_t> more = jpeg;
  more.insert(more.end() - 2, 40, 'x');
  EXPECT_EQ(complaints_of(more).count, 1);
  EXPECT_THAT(complaints_of(more).first, HasSubstr("extraneous bytes before marker 0xd9"));
  EXPECT_EQ(decode(more).pixels, decode(jpeg).pixels);
  const uint8_t huffman[] = {0xFF, 0xC4};
  std::vector<uint8_t> header = jpeg;
  header.insert(std::search(header.begin(), header.end(), huffman, huffman + 2), 3, 'x');
  EXPECT_THAT(error_of(header), HasSubstr("3 extraneous bytes before marker 0xc4"));
}

// Without one of its scans libjpeg would smooth over what is missing.
TEST(DecodeImage, AProgressiveJpegWithoutAScanIsRefused) {
  MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON();
  const TemporaryFolder folder;
  write_bytes(folder / "in.jpg", encode_jpeg(random_image(40, 40, 5), 90));
  run_reference_python(
      "import sys; from PIL import Image; Image.open(sys.argv[1]).save(sys.argv[2], progressive=True, quality=90)",
      {folder / "in.jpg", folder / "progressive.jpg"});
  const std::vector<uint8_t> whole = read_bytes(folder / "progressive.jpg");
  EXPECT_EQ(error_of(whole), "");
  const uint8_t scan[] = {0xFF, 0xDA};
  const auto last = std::find_end(whole.begin(), whole.end(), scan, scan + 2);
  std::vector<uint8_t> without(whole.begin(), last);
  without.insert(without.end(), {0xFF, 0xD9});
  EXPECT_THAT(error_of(without), HasSubstr("scans are missing"));
}

TEST(DecodeImage, EveryDamageOfAPngIsSeen) {
  const Image image = random_image(20, 10, 7);
  const std::vector<uint8_t> png = encode_png(image);
  ASSERT_EQ(decode(png).pixels, image.pixels);
  EXPECT_EQ(refusals_of_damaged(png, 2000), 2000);
  for (size_t size = 0; size < png.size(); ++size) {
    const std::vector<uint8_t> cut(png.begin(), png.begin() + static_cast<ptrdiff_t>(size));
    ASSERT_THAT(error_of(cut), HasSubstr("picture: ")) << size;
  }
  EXPECT_EQ(decode(png).pixels, image.pixels);
}

TEST(DecodeImage, HugeHeadersAreRefusedBeforeMemoryIsTaken) {
  std::vector<uint8_t> jpeg = encode_jpeg(random_image(16, 16, 3), 80);
  const uint8_t frame[] = {0xFF, 0xC0};
  const auto at = std::search(jpeg.begin(), jpeg.end(), frame, frame + 2) - jpeg.begin();
  for (int i = 5; i < 9; i += 2) {
    jpeg[static_cast<size_t>(at + i)] = 0xFD;
    jpeg[static_cast<size_t>(at + i + 1)] = 0xE8;
  }
  EXPECT_THAT(error_of(jpeg), HasSubstr("65000 x 65000 pixels, at most 134217728"));
}

}  // namespace
}  // namespace muster
