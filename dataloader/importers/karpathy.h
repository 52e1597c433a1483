// The lists of Karpathy and Fei-Fei (2015): dataset_coco.json, dataset_flickr30k.json, dataset_flickr8k.json.
#pragma once

#include <string>

#include "dataloader/importers/importer.h"

namespace muster {

// How features of an image are called.
enum class RegionIds {
  kNumber,  // cocoid where the list has it, else the image's place in the list: TERAN's npz files
  kName,    // cocoid, else the name of the image's file without its extension: bottom-up TSV and HDF5
};

// An image a row with all its captions, an identity of its own; restval is train. row.image is filepath/filename,
// row.region_item as `ids` says. An image without captions is refused. DataError: no such list.
ImportList read_karpathy(const std::string& path, RegionIds ids);

}  // namespace muster
