// From a data set as its makers publish it to a store. An importer reads a list of images and hands rows to
// import_rows(), which decodes every image once, so that damage is found now and not during training.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "dataloader/store.h"

namespace muster {

// One image as a list names it.
struct ImportRow {
  std::string where;  // file:line, for messages
  std::string image;  // path relative to ImportOptions::root, UTF-8
  std::string identity;
  std::vector<std::string> captions;
  Split split = Split::kTrain;
  std::string refusal;  // not empty: the list itself is wrong here, for this reason; the other fields do not count
};

// The next row, or nothing at the end. Called from one thread.
using RowSource = std::function<std::optional<ImportRow>()>;

struct ImportOptions {
  std::string root = ".";  // images lie below it; a path that leaves it (.. or a symbolic link) is refused
  int threads = 1;         // that read and decode images
  bool skip_bad = false;   // refuse a bad row and go on; otherwise the first bad row ends the import with a DataError
  // Called now and then with the number of rows done.
  std::function<void(int64_t rows)> progress = [](int64_t) {};
};

struct ImportReport {
  struct Counts {
    int64_t images = 0;
    int64_t captions = 0;
    int64_t identities = 0;
  };
  std::array<Counts, 3> splits;          // indexed by Split
  int64_t identities_in_two_splits = 0;  // allowed, but a test on identities seen in training says little
  std::vector<std::string> refused;      // one line a row: where, what, and what to do
  std::vector<std::string> warnings;
};

// Rows go to the store in their order, whatever the number of threads. Memory: a few images a thread. The caller calls
// store.finish(). DataError: a bad row (unless skip_bad), or no good one at all.
ImportReport import_rows(const RowSource& next, const ImportOptions& options, StoreWriter& store);

// Why a caption cannot be used, or nothing: it is empty or blank.
std::string caption_refusal(const std::string& caption);

}  // namespace muster
