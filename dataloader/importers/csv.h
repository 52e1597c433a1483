// A table of images and captions: the first record names the columns. The columns are described in
// dataloader/README.md.
#pragma once

#include <string>

#include "dataloader/importers/importer.h"

namespace muster {

struct CsvOptions {
  char delimiter = 0;  // 0: a tab if the first record has one, else a comma
  bool quoted = true;  // false: quotes are ordinary characters
  // Names of the columns; empty: the usual names are looked for. "none": there is no such column (not for image).
  std::string image_key, caption_key, identity_key, split_key;
};

// Rows of one image are several captions of it, wherever they stand. A bad record becomes a refused row. DataError: the
// file cannot be read, a column is missing or could be several.
ImportList read_csv(const std::string& path, const CsvOptions& options, const RowDefaults& defaults = {});

}  // namespace muster
