// What lies at a path, told by names and first bytes: which of the ways in of `muster import` reads it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "dataloader/importers/class_sets.h"
#include "dataloader/importers/person_sets.h"

namespace muster {

struct Source {
  enum class Kind { kPersonSet, kClassSet, kJsonl, kCsv, kWebdataset, kStore };
  Kind kind = Kind::kStore;
  const PersonSet* set = nullptr;  // of kPersonSet
  // What the reader takes: one path; of a webdataset one tar (or braces), or all tars of a folder in order.
  std::vector<std::string> paths;
  const ClassSet* classes = nullptr;  // of kClassSet
};

// A file or a folder; braces that stand for tars too. DataError: nothing is there, nothing that is recognised (with
// what is), or several sources in one folder (which).
Source find_source(const std::string& path);

// What a file holds, by its first bytes alone. A few hundred are enough; kTar needs 265.
enum class FileKind {
  kEmpty,
  kJsonList,
  kJsonObject,
  kText,
  kTar,
  kCompressed,
  kUtf16,
  kPicture,
  kHdf5,
  kParquet,
  kBinary
};
FileKind file_kind(std::string_view start);

}  // namespace muster
