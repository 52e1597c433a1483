// Region features as extractors leave them on the disk, image by image.
//
// What a source gives is checked here: as many regions as expected, all of one width, features finite and within
// float16, boxes within the image and not turned round.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dataloader/importers/importer.h"
#include "dataloader/store.h"

namespace muster {

// What must hold of each image's regions.
struct RegionRules {
  int64_t least = 1, most = 1024;  // regions of an image
  int64_t width = 0;               // numbers in a region's features
};

// What a file says of an image, unchecked. Without boxes every region is the whole image.
struct RawRegions {
  int64_t count = 0;
  std::vector<float> features;    // [count, width]
  std::vector<float> boxes;       // [count, 4] or none
  int32_t width = 0, height = 0;  // of the image in pixels; 0: not said here
};

// Rounds features to float16, half to even; boxes that leave the image by less than half a pixel are cut. DataError,
// without the place: what is wrong, and where in the image.
ImageRegions check_regions(const RawRegions& raw, const RegionRules& rules);

// Any number of threads may use one.
class RegionSource {
 public:
  virtual ~RegionSource() = default;
  const RegionRules& rules() const { return rules_; }
  // DataError, without the place: no such item, damaged.
  virtual RawRegions read(const std::string& item) const = 0;

 protected:
  // count: of every image, 0 for any. DataError, without the place: a store takes no features of this width.
  void set_rules(int64_t width, int64_t count);

 private:
  RegionRules rules_;
};

struct RegionOptions {
  int64_t count = 0;               // regions of every image; 0: rules of RegionRules
  std::vector<std::string> sizes;  // COCO annotation files, whose list "images" gives id, width, height
};

// bu_att/ID.npz (an array `feat` [R, D]) and bu_box/ID.npy [R, 4], as TERAN and TERN read them. The width is that of
// the first of `items` that is there. Sizes of images are taken from options.sizes. DataError: no such folders, none is
// there.
std::shared_ptr<const RegionSource> open_npz_regions(const std::string& folder, const std::vector<std::string>& items,
                                                     const RegionOptions& options);
// Lines of image_id, w, h, num_boxes, boxes, features between tabs, the last two float32 in base64, as bottom-up
// attention writes them. An item is an image_id. DataError: no such line at all, an image twice.
std::shared_ptr<const RegionSource> open_tsv_regions(const std::string& path, const RegionOptions& options);

// bottom-up-attention-vqa's files (detection_features_converter.py; ban-vqa's
// adaptive_detection_features_converter.py): X.hdf5 with float32 datasets image_features [N, R, D] and image_bb [N, R,
// 4]; or, for images with other numbers of regions, image_features [T, D], image_bb [T, 4] and int32 pos_boxes [N, 2],
// the image's first row and the one after its last; beside it the pickled dict X_imgid2idx.pkl from image ids to 0 .. N
// - 1. All X.hdf5 of a folder, or one file. An item is an image id. The size of an image is that of options.sizes, else
// image_w and image_h (int32 [N]), else what image_bb and spatial_features (float32, six for each region: x1 / w, y1 /
// h, x2 / w, y2 / h, ...) make it. An image is read where it lies, without libhdf5. DataError: no such file, other
// datasets, an image twice.
std::shared_ptr<const RegionSource> open_hdf5_regions(const std::string& path, const RegionOptions& options);

// SCAN's precomputed sets: SPLIT_ims.npy [N, R, D] and SPLIT_caps.txt, N x k lines, for the splits train, dev and test
// that are there. No boxes, no sizes: an image counts as 1 x 1.
ImportList read_scan_regions(const std::string& folder, const RegionOptions& options);

}  // namespace muster
