#include <filesystem>
#include <unordered_map>
#include <utility>

#include "dataloader/importers/importer.h"
#include "dataloader/importers/ordered_workers.h"
#include "dataloader/importers/row_loader.h"
#include "launch/error.h"

namespace muster {
namespace {

constexpr size_t kRowsAhead = 8;  // a thread; bounds the images in memory

// Either a record or the line that says why there is none.
using Outcome = std::pair<StoreRecord, std::string>;

// Counts what went into the store.
class Tally {
 public:
  void add(const StoreRecord& record) {
    const auto split = static_cast<size_t>(record.split);
    ImportReport::Counts& counts = report.splits[split];
    ++counts.images;
    counts.captions += static_cast<int64_t>(record.captions.size());
    uint8_t& seen = seen_in_[record.identity];
    const auto bit = static_cast<uint8_t>(1U << split);
    if ((seen & bit) != 0) return;
    ++counts.identities;
    if (seen != 0 && (seen & (seen - 1)) == 0) ++report.identities_in_two_splits;
    seen = static_cast<uint8_t>(seen | bit);
  }

  ImportReport report;

 private:
  std::unordered_map<std::string, uint8_t> seen_in_;  // bit s: in split s
};

// Refuses the second row of an image.
class Duplicates {
 public:
  void mark(ImportRow& row) {
    if (!row.refusal.empty()) return;
    const std::string path = std::filesystem::path(row.image).lexically_normal().string();
    const auto [first, is_new] = first_.emplace(path, row.where);
    if (!is_new) {
      row.refusal =
          "image " + row.image + " was listed before (" + first->second + "); give all its captions in one row";
    }
  }

 private:
  std::unordered_map<std::string, std::string> first_;
};

Outcome load_or_refuse(const RowLoader& loader, const ImportRow& row) {
  try {
    if (!row.refusal.empty()) throw DataError(row.where + ": " + row.refusal);
    return {loader.load(row), ""};
  } catch (const DataError& error) {
    return {StoreRecord{}, error.what()};
  }
}

void take(const Outcome& outcome, const ImportOptions& options, StoreWriter& store, Tally& tally) {
  const auto& [record, refusal] = outcome;
  if (refusal.empty()) {
    store.add(record);
    tally.add(record);
  } else if (options.skip_bad) {
    tally.report.refused.push_back(refusal);
  } else {
    throw DataError(refusal);
  }
}

}  // namespace

ImportReport import_rows(const RowSource& next, const ImportOptions& options, StoreWriter& store) {
  const RowLoader loader(options.root);
  OrderedWorkers<Outcome> workers(options.threads);
  const size_t ahead = kRowsAhead * static_cast<size_t>(options.threads);
  Duplicates duplicates;
  Tally tally;
  int64_t rows = 0;
  const auto take_oldest = [&] {
    take(workers.pop(), options, store, tally);
    options.progress(++rows);
  };
  while (std::optional<ImportRow> row = next()) {
    duplicates.mark(*row);
    workers.push([&loader, row = std::move(*row)] { return load_or_refuse(loader, row); });
    if (workers.pending() >= ahead) take_oldest();
  }
  while (workers.pending() > 0) take_oldest();

  ImportReport& report = tally.report;
  if (rows == static_cast<int64_t>(report.refused.size()) && rows > 0) {
    throw DataError("all " + std::to_string(rows) + " rows were refused, the first because of " +
                    report.refused.front());
  }
  if (report.identities_in_two_splits > 0) {
    report.warnings.push_back(std::to_string(report.identities_in_two_splits) +
                              " identities are in more than one split");
  }
  return report;
}

std::string caption_refusal(const std::string& caption) {
  return caption.find_first_not_of(" \t\r\n\v\f") == std::string::npos ? "a caption is empty; remove it or write one"
                                                                       : "";
}

}  // namespace muster
