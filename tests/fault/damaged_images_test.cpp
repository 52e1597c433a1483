// Ten thousand damaged pictures through the program's import: no crash, what is cut off is refused, and of what is kept
// the pixels are Pillow's.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <regex>
#include <string>

#include "dataloader/image.h"
#include "dataloader/store.h"
#include "tests/support/child_process.h"
#include "tests/support/reference_python.h"
#include "tests/support/temporary_folder.h"

namespace muster {
namespace {

using testing::HasSubstr;

constexpr int kPictures = 10'000;
const std::string kPeer = MUSTER_SOURCE_DIR "/tests/peers/damaged_images.py";

class DamagedImages : public testing::Test {
 protected:
  ProgramResult peer(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), {reference_python(), kPeer});
    return run_program(arguments);
  }

  ProgramResult import(const std::string& out, const std::vector<std::string>& more) const {
    std::vector<std::string> argv = {
        muster_program(), "import",    "csv", folder_ / "pictures/list.csv", "--out", folder_ / out,
        "--skip-bad",     "--threads", "2"};
    argv.insert(argv.end(), more.begin(), more.end());
    return run_program(argv);
  }

  // What the store's images are once they are decoded, for the peer.
  void write_kept(const Store& store, const std::string& path) const {
    std::ofstream list(path), pixels(path + ".pixels", std::ios::binary);
    for (int64_t i = 0; i < store.images(); ++i) {
      const std::vector<uint8_t> bytes = store.image_bytes(i);
      const Image image = decode_image(bytes.data(), bytes.size(), std::string(store.source_path(i)));
      list << store.source_path(i) << ' ' << image.width << ' ' << image.height << '\n';
      pixels.write(reinterpret_cast<const char*>(image.pixels.data()),
                   static_cast<std::streamsize>(image.pixels.size()));
    }
  }

  TemporaryFolder folder_;
};

// The number before these words in what a program said; 0 if it said no such thing.
int64_t number_before(const std::string& words, const std::string& said) {
  std::smatch found;
  if (!std::regex_search(said, found, std::regex("([0-9,]+) " + words))) return 0;
  std::string digits = found[1];
  digits.erase(std::remove(digits.begin(), digits.end(), ','), digits.end());
  return std::stoll(digits);
}

TEST_F(DamagedImages, AreRefusedOrPillows) {
  MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON();
  const ProgramResult made =
      peer({"make", MUSTER_SOURCE_DIR "/dataloader/synth/people.png", folder_ / "pictures", std::to_string(kPictures)});
  ASSERT_EQ(made.exit_code, 0) << made.output;
  const ProgramResult imported = import("store", {});
  ASSERT_EQ(imported.exit_code, 0) << imported.output;
  const int64_t refused = number_before("rows were refused", imported.output);
  const int64_t complained = number_before("images are damaged in what their decoder only warns of", imported.output);
  const Store store(folder_ / "store");
  EXPECT_EQ(store.images() + refused, kPictures);
  EXPECT_GT(store.images(), kPictures / 20);
  EXPECT_GT(complained, kPictures / 100);
  for (int64_t i = 0; i < store.images(); ++i) {
    EXPECT_NE(std::string(store.source_path(i)).rfind("cut-", 0), 0U) << store.source_path(i) << " is cut off";
  }
  write_kept(store, folder_ / "kept");
  const ProgramResult compared = peer({"compare", folder_ / "pictures", folder_ / "kept"});
  EXPECT_THAT(compared.output, HasSubstr(fmt::format("{} equal, 0 differ", store.images())));

  const ProgramResult strict = import("strict", {"--strict"});
  ASSERT_EQ(strict.exit_code, 0) << strict.output;
  EXPECT_EQ(number_before("rows were refused", strict.output), refused + complained);
  EXPECT_EQ(Store(folder_ / "strict").images(), store.images() - complained);
  fmt::print("{} damaged pictures: {} refused, {} kept, of these {} with a decoder's warning; {}\n", kPictures, refused,
             store.images(), complained, compared.output);
}

}  // namespace
}  // namespace muster
