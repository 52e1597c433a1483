// A store: a folder of HDF5 files (shards) and a manifest.textproto. The bytes are described in dataloader/README.md.
//
// Reading: structure bytes are verified against the manifest's hashes before libhdf5 opens a file; image bytes are then
// read with pread outside the library and verified by their own hash at each read. Any number of threads may read.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace muster {

enum class Split : uint8_t { kTrain = 0, kVal = 1, kTest = 2 };
std::string split_name(Split split);
Split split_from_name(const std::string& name);  // throws ConfigError naming the three

class Store {
 public:
  // Opens and verifies the structure of every shard. DataError: missing, damaged (which file, which part), from a newer
  // version, or never finished (a writer was stopped: run the import again).
  explicit Store(const std::string& path);
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  const std::string& path() const;
  // Images are numbered 0 .. images()-1 in the order they were imported, captions 0 .. captions()-1 grouped by image.
  int64_t images() const;
  int64_t captions() const;
  int64_t identities() const;

  const std::vector<int64_t>& images_of(Split split) const;  // image numbers, ascending
  Split split(int64_t image) const;
  int64_t identity(int64_t image) const;                     // 0 .. identities()-1
  const std::string& identity_name(int64_t identity) const;  // as the data set spells it
  std::string source_path(int64_t image) const;              // the image's path in the imported set
  std::string caption(int64_t caption) const;                // UTF-8
  int32_t width(int64_t image) const;                        // of the decoded image
  int32_t height(int64_t image) const;
  int64_t image_size(int64_t image) const;     // bytes of the image file; in a store with regions it may be 0
  int64_t first_caption(int64_t image) const;  // captions of image: [first, first + count)
  int64_t caption_count(int64_t image) const;

  // The image file's bytes as they were imported (JPEG or PNG). DataError if they do not match their hash.
  std::vector<uint8_t> image_bytes(int64_t image) const;

  // Regions that an extractor found in each image, in a store that has them: of every image at least one.
  bool has_regions() const;
  int64_t region_width() const;                 // numbers in a region's features; 0 without regions
  const std::string& region_extractor() const;  // what found them, in its users' words; may be empty
  int64_t region_count(int64_t image) const;    // 0 without regions
  // Writes [region_count, region_width] float16 (bits) and [region_count, 4] float32: x1, y1, x2, y2 in pixels of an
  // image of width() x height(). DataError if they do not match their hash. std::logic_error without regions.
  void read_regions(int64_t image, uint16_t* features, float* boxes) const;

  // Reads and verifies every byte. DataError on the first damage.
  void verify() const;

  // The shards' files, in image order.
  struct ShardFile {
    std::string name;
    uint64_t bytes = 0;
    int64_t images = 0;
    int64_t captions = 0;
  };
  const std::vector<ShardFile>& shards() const;

  // XXH3-128 of the manifest, as hex: the identity of the data in a checkpoint.
  const std::string& fingerprint() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// What an extractor found in one image, a region after the other.
struct ImageRegions {
  std::vector<uint16_t> features;  // [count, width] float16 bits
  std::vector<float> boxes;        // [count, 4] x1, y1, x2, y2 in pixels

  int64_t count() const { return static_cast<int64_t>(boxes.size() / 4); }
};

// One image with its captions, as an importer hands it over.
struct StoreRecord {
  std::string source_path;            // for messages and listings; UTF-8
  std::vector<uint8_t> image;         // JPEG or PNG file bytes, already found decodable; with regions may be empty
  int32_t width = 0, height = 0;      // of the decoded image
  std::vector<std::string> captions;  // UTF-8, not empty
  std::string identity;               // any string; equal strings are one identity
  Split split = Split::kTrain;
  ImageRegions regions{};  // of a store with regions: one at least, as wide as the writer's options say
};

// Writes a store. Everything goes to PATH.partial, which becomes PATH by one rename in finish(); a writer that is
// destroyed before finish() removes its partial folder, and a killed one's is replaced by the next writer.
class StoreWriter {
 public:
  struct Options {
    int64_t shard_bytes = int64_t{1} << 30;  // a shard is closed once its images and their regions exceed this
    int64_t region_width = 0;                // above 0: every image has regions, of so many numbers each
    std::string region_extractor{};          // what found them
  };

  // DataError if PATH exists and is not empty, or cannot be created.
  explicit StoreWriter(const std::string& path) : StoreWriter(path, Options{}) {}
  StoreWriter(const std::string& path, const Options& options);
  ~StoreWriter();
  StoreWriter(const StoreWriter&) = delete;
  StoreWriter& operator=(const StoreWriter&) = delete;

  void add(const StoreRecord& record);
  // fsyncs and renames. DataError on a full disk; nothing is left then.
  void finish();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace muster
