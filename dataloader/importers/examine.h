// What importing a list would lose and what people should know of it, found without writing anything.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "dataloader/importers/importer.h"
#include "dataloader/store.h"

namespace muster {

enum class FindingKind {
  // Of rows that an import would refuse:
  kBadRow,       // the list itself is wrong there
  kListedTwice,  // its image was listed before
  kMissing,      // there is no image
  kUnreadable,   // empty, too large, outside the root, not to be opened; decoding: damaged
  // Of rows that it would take:
  kWithoutCaption,
  kSharedCaption,  // a caption stands under several identities
};

struct Finding {
  int64_t count = 0;
  std::vector<std::string> first;  // the first few in the list's order, with places; texts as others wrote them
};

struct Examination {
  ImportReport report;  // as the import would give it with --skip-bad; `warnings` are the list's own
  std::map<FindingKind, Finding> findings;
  bool decoded = false;

  // Every row would be imported, and counts are the published ones if there are any.
  bool is_whole() const { return report.refused.empty() && report.differences.empty(); }
};

struct ExamineOptions {
  bool decode = false;  // every image; else it is looked for, opened, and its size seen
  int threads = 1;
  std::function<void(int64_t rows)> progress = [](int64_t) {};
};

// DataError: the list names no image, its root is no folder.
Examination examine_list(ImportList list, const ExamineOptions& options);

// Of a store, whose structure was verified when it was opened: decoding also compares each image with its hash.
Examination examine_store(const Store& store, const ExamineOptions& options);

}  // namespace muster
