#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>
#include <unordered_map>

#include "dataloader/formats/atomic_file.h"
#include "dataloader/formats/file.h"
#include "dataloader/formats/index_pickle.h"
#include "dataloader/hdf5_file.h"
#include "dataloader/importers/picture_sizes.h"
#include "dataloader/importers/region_source.h"
#include "launch/error.h"

namespace muster {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMostIndexBytes = uint64_t{1} << 26;
constexpr uint64_t kSpatial = 6;  // numbers of a region in spatial_features

std::string as_text(const std::vector<uint64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

// The length of a picture's side, of which a box ends at `end` pixels or at the share `share`.
int32_t side_of(float end, float share) {
  const double side = std::round(double{end} / double{share});
  const bool good = side >= 1 && side <= INT32_MAX && std::abs(side * double{share} - double{end}) < 0.01;
  return good ? static_cast<int32_t>(side) : 0;
}

// One file's arrays. Any number of threads may use one.
class RegionArrays {
 public:
  explicit RegionArrays(const std::string& path) : file_(path) {
    const Hdf5Reader reader(path, file_.size());
    features_ = reader.array("image_features", Hdf5Type::kFloat32);
    boxes_ = reader.array("image_bb", Hdf5Type::kFloat32);
    const std::vector<uint64_t>& shape = features_.shape;
    const bool adaptive = reader.has("pos_boxes");
    if (shape.size() != (adaptive ? 2 : 3)) {
      throw DataError(fmt::format("{}: image_features is {}, not {}", path, as_text(shape),
                                  adaptive ? "[regions, width] as pos_boxes would have it"
                                           : "[images, regions, width]; other numbers of regions need pos_boxes"));
    }
    width_ = shape.back();
    if (adaptive) {
      const Hdf5Array places = reader.array("pos_boxes", Hdf5Type::kInt32);
      images_ = places.shape[0];
      expect_shape("pos_boxes", places, {images_, 2});
      places_ = places.extent;
    } else {
      images_ = shape[0];
    }
    expect_shape("image_bb", boxes_, with_last(4));
    find_sizes(reader);
  }

  const std::string& path() const { return file_.path(); }
  uint64_t images() const { return images_; }
  uint64_t width() const { return width_; }

  // Features and boxes are left out if there are too few or too many to be taken.
  RawRegions read(uint64_t image, const RegionRules& rules) const {
    const auto [first, end] = places(image);
    RawRegions raw;
    raw.count = static_cast<int64_t>(end - first);
    if (raw.count < rules.least || raw.count > rules.most) return raw;
    raw.features = numbers(features_.extent, first * width_, (end - first) * width_);
    raw.boxes = numbers(boxes_.extent, 4 * first, 4 * (end - first));
    if (widths_) {
      raw.width = integer(*widths_, image);
      raw.height = integer(*heights_, image);
    } else if (spatial_) {
      take_size(numbers(*spatial_, kSpatial * first, kSpatial * (end - first)), raw);
    }
    return raw;
  }

 private:
  void expect_shape(const char* name, const Hdf5Array& found, const std::vector<uint64_t>& shape) const {
    if (found.shape == shape) return;
    throw DataError(fmt::format("{}: {} is {}, not {} as image_features {} would have it", path(), name,
                                as_text(found.shape), as_text(shape), as_text(features_.shape)));
  }

  std::vector<uint64_t> with_last(uint64_t length) const {
    std::vector<uint64_t> shape = features_.shape;
    shape.back() = length;
    return shape;
  }

  void find_sizes(const Hdf5Reader& reader) {
    const auto sides = [&](const char* name) {
      const Hdf5Array found = reader.array(name, Hdf5Type::kInt32);
      expect_shape(name, found, {images_});
      return found.extent;
    };
    if (reader.has("image_w") && reader.has("image_h")) {
      widths_ = sides("image_w");
      heights_ = sides("image_h");
    } else if (reader.has("spatial_features")) {
      const Hdf5Array found = reader.array("spatial_features", Hdf5Type::kFloat32);
      expect_shape("spatial_features", found, with_last(kSpatial));
      spatial_ = found.extent;
    }
  }

  // Rows [first, end) of an image, as if all images' regions were one table.
  std::pair<uint64_t, uint64_t> places(uint64_t image) const {
    if (!places_) return {image * features_.shape[1], (image + 1) * features_.shape[1]};
    const int64_t first = integer(*places_, 2 * image), end = integer(*places_, 2 * image + 1);
    const auto regions = static_cast<int64_t>(features_.shape[0]);
    if (first < 0 || end < first || end > regions) {
      throw DataError(fmt::format("{}: pos_boxes[{}] is {} to {}, of {} regions; the file is damaged", path(), image,
                                  first, end, regions));
    }
    return {static_cast<uint64_t>(first), static_cast<uint64_t>(end)};
  }

  std::vector<float> numbers(const Hdf5Extent& extent, uint64_t first, uint64_t count) const {
    std::vector<float> values(count);
    file_.read(values.data(), count * sizeof(float), extent.begin + first * sizeof(float));
    return values;
  }
  int32_t integer(const Hdf5Extent& extent, uint64_t place) const {
    int32_t value = 0;
    file_.read(&value, sizeof value, extent.begin + place * sizeof value);
    return value;
  }

  // From the boxes that reach furthest: there the shares are the most exact.
  void take_size(const std::vector<float>& spatial, RawRegions& raw) const {
    size_t right = 0, low = 0;
    for (size_t r = 1; r < static_cast<size_t>(raw.count); ++r) {
      if (raw.boxes[4 * r + 2] > raw.boxes[4 * right + 2]) right = r;
      if (raw.boxes[4 * r + 3] > raw.boxes[4 * low + 3]) low = r;
    }
    raw.width = side_of(raw.boxes[4 * right + 2], spatial[kSpatial * right + 2]);
    raw.height = side_of(raw.boxes[4 * low + 3], spatial[kSpatial * low + 3]);
  }

  InputFile file_;
  Hdf5Array features_, boxes_;
  std::optional<Hdf5Extent> places_, widths_, heights_, spatial_;
  uint64_t images_ = 0, width_ = 0;
};

class Hdf5Regions : public RegionSource {
 public:
  Hdf5Regions(const std::string& path, const RegionOptions& options) : sizes_(read_picture_sizes(options.sizes)) {
    std::vector<fs::path> files;
    if (is_folder(path)) {
      for (const auto& entry : fs::directory_iterator(path)) {
        if (entry.path().extension() == ".hdf5") files.push_back(entry.path());
      }
      if (files.empty())
        throw DataError("there is no file X.hdf5 in " + path + "; give the folder of train36.hdf5 or the like");
      std::sort(files.begin(), files.end());
    } else {
      files.emplace_back(path);
    }
    for (const fs::path& file : files) add(file, options);
  }

  RawRegions read(const std::string& item) const override {
    const auto place = places_.find(item);
    if (place == places_.end()) {
      throw DataError(fmt::format("image {} is not in {}{}; leave it out or import with --skip-bad", item,
                                  index_of(files_.front()->path()).string(),
                                  files_.size() > 1 ? ", nor in the others of its folder" : ""));
    }
    RawRegions raw = files_[place->second.file]->read(place->second.row, rules());
    if (const auto size = sizes_.find(item); size != sizes_.end()) {
      raw.width = size->second.width;
      raw.height = size->second.height;
    }
    return raw;
  }

 private:
  struct Place {
    size_t file = 0;
    uint64_t row = 0;
  };

  static fs::path index_of(const fs::path& file) {
    return file.parent_path() / (file.stem().string() + "_imgid2idx.pkl");
  }

  void add(const fs::path& path, const RegionOptions& options) {
    auto file = std::make_unique<RegionArrays>(path.string());
    const auto width = static_cast<int64_t>(file->width());
    if (!files_.empty() && width != rules().width) {
      throw DataError(fmt::format("{} has features of {} numbers, {} of {}", path.string(), width,
                                  files_.back()->path(), rules().width));
    }
    try {
      set_rules(width, options.count);
    } catch (const DataError& error) {
      throw DataError(path.string() + ": image_features: " + error.what());
    }
    add_index(index_of(path).string(), *file);
    files_.push_back(std::move(file));
  }

  void add_index(const std::string& path, const RegionArrays& file) {
    if (!is_file(path)) {
      throw DataError(
          fmt::format("{} is missing, the pickle that says which row of {} is which image", path, file.path()));
    }
    std::vector<bool> taken(file.images());
    for (const auto& [id, row] : parse_index_pickle(read_file(path, kMostIndexBytes), path)) {
      if (row < 0 || static_cast<uint64_t>(row) >= file.images()) {
        throw DataError(fmt::format("{}: image {} is row {}, but {} has rows 0 to {}; they do not belong together",
                                    path, id, row, file.path(), file.images() - 1));
      }
      const Place place{files_.size(), static_cast<uint64_t>(row)};
      if (taken[place.row])
        throw DataError(
            fmt::format("{}: row {} belongs to two images, one of them {}; the pickle is damaged", path, row, id));
      taken[place.row] = true;
      if (!places_.emplace(std::to_string(id), place).second) {
        throw DataError(fmt::format("{}: image {} was there before, here or in another file; keep one", path, id));
      }
    }
  }

  PictureSizes sizes_;
  std::vector<std::unique_ptr<RegionArrays>> files_;
  std::unordered_map<std::string, Place> places_;
};

}  // namespace

std::shared_ptr<const RegionSource> open_hdf5_regions(const std::string& path, const RegionOptions& options) {
  return std::make_shared<Hdf5Regions>(path, options);
}

}  // namespace muster
