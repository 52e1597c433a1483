// Data sets on the disk and what importing them gives.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "dataloader/image.h"
#include "dataloader/importers/importer.h"
#include "tests/dataloader/sample_store.h"
#include "tests/support/temporary_folder.h"

namespace muster {

// A small real JPEG; each index has a picture of its own.
inline std::vector<uint8_t> coloured_jpeg(int index) {
  Image image{12 + index % 5, 20, {}};
  image.pixels.assign(static_cast<size_t>(image.width * image.height * 3), static_cast<uint8_t>(40 * index));
  image.pixels[0] = static_cast<uint8_t>(index);
  return encode_jpeg(image, 90);
}

class ImportTest : public testing::Test {
 protected:
  // PATH below the test's folder, with its parents.
  void write_image(const std::string& path, int index) {
    std::filesystem::create_directories(std::filesystem::path(folder_ / path).parent_path());
    write_bytes(folder_ / path, coloured_jpeg(index));
  }
  void write_list(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(folder_ / path).parent_path());
    write_text(folder_ / path, text);
  }

  // To folder_/out.
  ImportReport import(ImportList list, bool skip_bad = false, int threads = 2) {
    ImportOptions options;
    options.threads = threads;
    options.skip_bad = skip_bad;
    return import_list(std::move(list), folder_ / "out", options);
  }

  // The message of a call that fails, which must be one line and leave no store.
  template <typename Call>
  std::string message_of(const Call& call) {
    const std::string text = error_of(call);
    EXPECT_FALSE(std::filesystem::exists(folder_ / "out") || std::filesystem::exists(folder_ / "out.partial")) << text;
    EXPECT_EQ(text.find('\n'), std::string::npos) << text;
    std::filesystem::remove_all(folder_ / "out");
    return text;
  }

  static std::vector<std::string> captions_of(const Store& store, int64_t image) {
    std::vector<std::string> captions;
    for (int64_t i = 0; i < store.caption_count(image); ++i)
      captions.push_back(store.caption(store.first_caption(image) + i));
    return captions;
  }

  const TemporaryFolder folder_;
};

}  // namespace muster
