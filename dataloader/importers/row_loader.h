// Reads the image of a row: finds it below the root or in its container, and decodes it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dataloader/decoder_complaints.h"
#include "dataloader/importers/importer.h"

namespace muster {

// Any number of threads may use one RowLoader. The list must outlive it.
class RowLoader {
 public:
  // DataError: the root is not a folder.
  explicit RowLoader(const ImportList& list);

  // The bytes of the image file. DataError, opening with row.where: the image is missing, outside the root, unreadable.
  std::vector<uint8_t> read(const ImportRow& row) const;

  // Nothing is at the row's path (what lies in a container is there).
  bool is_missing(const ImportRow& row) const;
  // The bytes of the image file, of which none is read. DataError as read().
  uint64_t size(const ImportRow& row) const;

  // Throws what is wrong with these bytes as an image, opening with row.where; else says what it is.
  struct Checked {
    int width = 0;
    int height = 0;
    Complaints complaints;
  };
  Checked check(const ImportRow& row, const std::vector<uint8_t>& bytes) const;

 private:
  struct Piece;
  std::string find(const ImportRow& row) const;
  Piece open(const ImportRow& row) const;

  std::string root_;  // without symbolic links, ends in a slash; empty: no row needs it
  const std::vector<std::string>& containers_;
  std::string root_option_;
};

}  // namespace muster
