#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "dataloader/formats/file.h"
#include "dataloader/formats/line_reader.h"
#include "dataloader/formats/npy.h"
#include "dataloader/formats/zip_reader.h"
#include "dataloader/importers/picture_sizes.h"
#include "dataloader/importers/region_source.h"
#include "launch/error.h"

namespace muster {
namespace {

namespace fs = std::filesystem;
constexpr uint64_t kMostImageBytes = uint64_t{1} << 28;  // of one image's features
constexpr uint64_t kMostBoxBytes = uint64_t{1} << 20;
constexpr size_t kMostCaptionBytes = size_t{1} << 20;

class NpzRegions : public RegionSource {
 public:
  NpzRegions(const std::string& folder, const std::vector<std::string>& items, const RegionOptions& options)
      : folder_(folder), sizes_(read_picture_sizes(options.sizes)) {
    for (const char* name : {"bu_att", "bu_box"}) {
      if (!is_folder(folder_ / name)) {
        throw DataError(
            fmt::format("there is no folder {} in {}; give the folder that holds bu_att and bu_box", name, folder));
      }
    }
    for (const std::string& item : items) {
      if (!is_file(features_path(item))) continue;
      set_rules(static_cast<int64_t>(features(item).shape[1]), options.count);
      return;
    }
    throw DataError(fmt::format("none of the {} images has features in {}, the first of them {}", items.size(),
                                (folder_ / "bu_att").string(), items.empty() ? "" : features_path(items[0])));
  }

  RawRegions read(const std::string& item) const override {
    NpyArray found = features(item);
    NpyArray boxes = read_npy((folder_ / "bu_box" / (item + ".npy")).string(), kMostBoxBytes);
    if (boxes.shape != std::vector<uint64_t>{found.shape[0], 4}) {
      throw DataError(fmt::format("{}/bu_box/{}.npy is [{}], not [{}, 4]", folder_.string(), item,
                                  fmt::join(boxes.shape, ", "), found.shape[0]));
    }
    RawRegions raw{static_cast<int64_t>(found.shape[0]), std::move(found.values), std::move(boxes.values), 0, 0};
    if (const auto size = sizes_.find(item); size != sizes_.end()) {
      raw.width = size->second.width;
      raw.height = size->second.height;
    }
    return raw;
  }

 private:
  std::string features_path(const std::string& item) const { return (folder_ / "bu_att" / (item + ".npz")).string(); }

  NpyArray features(const std::string& item) const {
    const std::string path = features_path(item);
    const ZipReader zip(path, ZipReader::Entries::kDeflatedToo);
    const ZipReader::Entry* entry = zip.find("feat.npy");
    if (entry == nullptr) throw DataError(path + ": holds no array feat");
    NpyArray array = parse_npy(zip.read(*entry, kMostImageBytes), path + ": feat");
    if (array.shape.size() != 2 || array.shape[1] == 0) {
      throw DataError(fmt::format("{}: feat is [{}], not [regions, width]", path, fmt::join(array.shape, ", ")));
    }
    return array;
  }

  fs::path folder_;
  PictureSizes sizes_;
};

// An item is SPLIT:ROW.
class ScanRegions : public RegionSource {
 public:
  void add(const std::string& path, const RegionOptions& options) {
    auto file = std::make_unique<NpyFile>(path);
    const auto& shape = file->shape();
    if (shape.size() != 3 || shape[0] == 0 || shape[1] == 0 || shape[2] == 0) {
      throw DataError(fmt::format("{} is [{}], not [images, regions, width]", path, fmt::join(shape, ", ")));
    }
    const auto width = static_cast<int64_t>(shape[2]);
    if (!files_.empty() && width != rules().width) {
      throw DataError(
          fmt::format("{} has features of {} numbers, {} of {}", path, width, files_.back()->path(), rules().width));
    }
    set_rules(width, options.count);
    files_.push_back(std::move(file));
  }
  const std::vector<uint64_t>& shape() const { return files_.back()->shape(); }
  size_t files() const { return files_.size(); }

  RawRegions read(const std::string& item) const override {
    const size_t colon = item.find(':');
    const NpyFile& file = *files_.at(std::stoull(item.substr(0, colon)));
    const uint64_t row = std::stoull(item.substr(colon + 1)), each = file.shape()[1] * file.shape()[2];
    return {static_cast<int64_t>(file.shape()[1]), file.read(row * each, each), {}, 1, 1};
  }

 private:
  std::vector<std::unique_ptr<NpyFile>> files_;
};

}  // namespace

std::shared_ptr<const RegionSource> open_npz_regions(const std::string& folder, const std::vector<std::string>& items,
                                                     const RegionOptions& options) {
  return std::make_shared<NpzRegions>(folder, items, options);
}

ImportList read_scan_regions(const std::string& folder, const RegionOptions& options) {
  const auto source = std::make_shared<ScanRegions>();
  ImportList list;
  list.source = folder;
  list.regions = source;
  list.has_images = false;
  const std::pair<const char*, Split> parts[] = {
      {"train", Split::kTrain}, {"dev", Split::kVal}, {"test", Split::kTest}};
  for (const auto& [name, split] : parts) {
    const std::string features = fmt::format("{}/{}_ims.npy", folder, name);
    if (!is_file(features)) continue;
    source->add(features, options);
    const std::string path = fmt::format("{}/{}_caps.txt", folder, name);
    LineReader lines(path, kMostCaptionBytes);
    std::vector<std::string> captions;
    for (std::string line; lines.next(line);) captions.push_back(line);
    const uint64_t images = source->shape()[0];
    if (captions.empty() || captions.size() % images != 0) {
      throw DataError(fmt::format("{} has {} captions for the {} images of {}; each image has as many as the others",
                                  path, captions.size(), images, features));
    }
    const size_t each = captions.size() / images;
    for (uint64_t i = 0; i < images; ++i) {
      ImportRow row;
      row.where = fmt::format("{}[{}]", features, i);
      row.image = fmt::format("{}/{}", name, i);
      row.identity = row.image;
      row.split = split;
      row.region_item = fmt::format("{}:{}", source->files() - 1, i);
      for (size_t c = i * each; c < (i + 1) * each; ++c) {
        if (std::string refusal = caption_refusal(captions[c]); !refusal.empty())
          row.refusal = fmt::format("{}:{}: {}", path, c + 1, refusal);
        row.captions.push_back(captions[c]);
      }
      list.rows.push_back(std::move(row));
    }
  }
  if (source->files() == 0) {
    throw DataError(fmt::format("there is no train_ims.npy, dev_ims.npy or test_ims.npy in {}", folder));
  }
  list.warnings.push_back("these features have no boxes: every region counts as the whole of a 1 x 1 image");
  return list;
}

}  // namespace muster
