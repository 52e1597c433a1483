// From a data set as its makers publish it to a store. A reader (jsonl.h, csv.h, ...) turns a list of images into an
// ImportList; import_list() decodes every image once, so that damage is found now and not during training, and writes
// the store: on many threads, on many ranks, and again from where it was killed.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "dataloader/batch.h"
#include "dataloader/store.h"

namespace muster {

class RegionSource;  // region_source.h

// One image as a list names it.
struct ImportRow {
  std::string where;  // file:line, for messages
  std::string image;  // path relative to ImportList::root, UTF-8; of an image in a container, its name there
  std::string identity;
  std::vector<std::string> captions;  // may be none: such an image is in the gallery only
  Split split = Split::kTrain;
  std::string refusal;  // not empty: the list itself is wrong here, for this reason; the other fields do not count

  // Not negative: the image is bytes [begin, begin + bytes) of the file ImportList::containers[container].
  int32_t container = -1;
  uint64_t begin = 0, bytes = 0;

  std::string region_item;  // its name in ImportList::regions, if that is given
};

struct ImportCounts {
  int64_t images = 0;
  int64_t captions = 0;
  int64_t identities = 0;
};

// What the makers of a set say is in it, by Split.
struct PublishedCounts {
  static constexpr int64_t kUnknown = -1;  // not said, so nothing is compared
  const char* name;
  std::array<ImportCounts, 3> splits;
};

// Memory: about 200 bytes a row and the captions.
struct ImportList {
  std::string source;                  // for messages
  std::string root = ".";              // images lie below it; a path that leaves it (.. or a symbolic link) is refused
  std::string root_option = "--root";  // what a user gives it by, for messages
  std::vector<ImportRow> rows;
  std::vector<std::string> containers;
  std::vector<std::string> warnings;
  std::shared_ptr<const RegionSource> regions;  // where every image's regions are, if it has any
  std::string region_extractor;
  bool has_images = true;                      // without them only the regions are imported; `root` does not count
  const PublishedCounts* published = nullptr;  // of the set that this should be, if any
};

// For lists that can leave it open: what rows get that name no split, and where their images lie.
struct RowDefaults {
  std::string root;  // empty: the folder of the list
  Split split = Split::kTrain;
};
std::string root_of(const std::string& list_path, const RowDefaults& defaults);

struct ImportOptions {
  int threads = 1;                         // of each rank, that read and decode images
  bool skip_bad = false;                   // refuse bad rows and go on; otherwise the first one ends the import
  bool strict = false;                     // an image that its decoder warns of is a bad row
  int64_t shard_bytes = int64_t{1} << 30;  // a shard is closed once its images exceed this
  int64_t block_rows = 512;                // what a rank takes at once, and a killed import loses at most
  // Called now and then with the share of the work that is done and the rows decoded, over all ranks.
  std::function<void(double fraction, int64_t rows)> progress = [](double, int64_t) {};
};

// The ranks of one import. They share the list and the file system, and meet in `lowest`, which every rank calls the
// same number of times: it returns the lowest of their values, after all have called it.
struct ImportRanks {
  Shard shard;
  std::function<int64_t(int64_t)> lowest = [](int64_t value) { return value; };
};

struct ImportReport {
  std::array<ImportCounts, 3> splits;    // indexed by Split
  std::vector<std::string> refused;      // one line a row: where, what, and what to do
  std::vector<std::string> warnings;     // the list's own first
  std::vector<std::string> complaints;   // one line an image that its decoder warned of
  std::vector<std::string> differences;  // from the published counts, one line each
  int64_t images_without_caption = 0;    // in all splits
  int64_t identities_in_two_splits = 0;  // allowed, but a test on identities seen in training says little
  int64_t rows_checked_before = 0;       // by the import that this one continues
};

// Makes the store `out`; the same list gives the same bytes, whatever the threads and ranks and however often it was
// killed. Work goes to OUT.partial, which becomes OUT by one rename; what fails removes it, what is killed leaves it to
// be continued. Every rank gets the report. DataError: the first bad row (unless skip_bad), no good row at all, a full
// disk, OUT exists.
ImportReport import_list(ImportList list, const std::string& out, const ImportOptions& options,
                         const ImportRanks& ranks = {});

// Refuses the second row of an image. DataError: the list names no image.
void refuse_duplicates(ImportList& list);

// `count` identities of the list that are in train and in no other split become val, all their images with them. Which
// ones depends on the seed and the identities' names alone: those of the lowest keyed hash. ConfigError: the list has a
// val split, or not more than `count` such identities.
void hold_out_identities(ImportList& list, int64_t count, uint64_t seed);

// Why a caption cannot be used, or nothing: it is empty or shows nothing (white space and invisible characters only).
std::string caption_refusal(const std::string& caption);

}  // namespace muster
