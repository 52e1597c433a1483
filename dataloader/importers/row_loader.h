// Turns a row of a list into a record: finds the image below the root, reads it, decodes it.
#pragma once

#include <string>

#include "dataloader/importers/importer.h"
#include "dataloader/store.h"

namespace muster {

// Any number of threads may use one RowLoader.
class RowLoader {
 public:
  // DataError: the root is not a folder.
  explicit RowLoader(const std::string& root);

  // DataError, opening with row.where: the image is missing, outside the root, unreadable, damaged.
  StoreRecord load(const ImportRow& row) const;

 private:
  std::string find(const ImportRow& row) const;

  std::string root_;  // without symbolic links, ends in a slash
};

}  // namespace muster
