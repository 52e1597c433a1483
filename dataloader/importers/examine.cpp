#include "dataloader/importers/examine.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "dataloader/image.h"
#include "dataloader/importers/import_plan.h"
#include "dataloader/importers/ordered_workers.h"
#include "dataloader/importers/row_loader.h"
#include "launch/error.h"

namespace muster {
namespace {

constexpr size_t kShown = 5;
constexpr size_t kRowsAhead = 16;  // a thread

// Of one row: empty where it is good.
struct Verdict {
  FindingKind kind = FindingKind::kUnreadable;
  std::string refusal;
};

void note(Examination& examination, FindingKind kind, const std::function<std::string()>& line) {
  Finding& finding = examination.findings[kind];
  if (++finding.count <= static_cast<int64_t>(kShown)) finding.first.push_back(line());
}

// judge(i) for all rows, on many threads.
std::vector<Verdict> judge_rows(size_t rows, const ExamineOptions& options,
                                const std::function<Verdict(size_t)>& judge) {
  std::vector<Verdict> verdicts;
  OrderedWorkers<Verdict> workers(options.threads);
  for (size_t next = 0; verdicts.size() < rows;) {
    while (next < rows && workers.pending() < kRowsAhead * static_cast<size_t>(options.threads)) {
      workers.push([&judge, row = next++] { return judge(row); });
    }
    verdicts.push_back(workers.pop());
    options.progress(static_cast<int64_t>(verdicts.size()));
  }
  return verdicts;
}

Verdict judge_row(const RowLoader& loader, const ImportRow& row, bool decode) {
  if (!row.refusal.empty()) return {FindingKind::kBadRow, row.where + ": " + row.refusal};
  if (loader.is_missing(row)) return {FindingKind::kMissing, row.where + ": " + row.image};
  try {
    decode ? static_cast<void>(loader.check(row, loader.read(row))) : static_cast<void>(loader.size(row));
  } catch (const DataError& error) {
    return {FindingKind::kUnreadable, error.what()};
  }
  return {};
}

std::string shared_line(std::string_view caption, const std::set<std::string_view>& identities) {
  std::string text = fmt::format("\"{}\" under {} identities: ", caption, identities.size());
  size_t shown = 0;
  for (const std::string_view identity : identities) {
    if (shown == kShown) return text + ", ...";
    text += fmt::format("{}{}", shown++ > 0 ? ", " : "", identity);
  }
  return text;
}

void note_captions(const ImportList& list, const std::vector<Verdict>& verdicts, Examination& examination) {
  std::unordered_map<std::string_view, std::set<std::string_view>> identities_of;
  std::vector<std::string_view> captions;
  for (size_t i = 0; i < list.rows.size(); ++i) {
    const ImportRow& row = list.rows[i];
    if (!verdicts[i].refusal.empty()) continue;
    if (row.captions.empty())
      note(examination, FindingKind::kWithoutCaption, [&] { return row.where + ": " + row.image; });
    for (const std::string& caption : row.captions) {
      const auto [place, is_new] = identities_of.try_emplace(caption);
      place->second.insert(row.identity);
      if (is_new) captions.push_back(caption);
    }
  }
  for (const std::string_view caption : captions) {
    const std::set<std::string_view>& identities = identities_of.at(caption);
    if (identities.size() > 1)
      note(examination, FindingKind::kSharedCaption, [&] { return shared_line(caption, identities); });
  }
}

Examination conclude(const ImportList& list, const std::vector<Verdict>& verdicts, bool decoded) {
  Examination examination;
  examination.decoded = decoded;
  std::vector<CheckedRow> checked(list.rows.size());
  std::vector<std::string> refused;
  for (size_t i = 0; i < verdicts.size(); ++i) {
    if (verdicts[i].refusal.empty()) continue;
    checked[i].set_refusal(verdicts[i].refusal);
    refused.push_back(verdicts[i].refusal);
    note(examination, verdicts[i].kind, [&] { return verdicts[i].refusal; });
  }
  if (refused.size() < list.rows.size()) {
    examination.report = ImportPlan(list, checked, ImportOptions().shard_bytes).report();
  } else {
    examination.report.refused = std::move(refused);
  }
  examination.report.warnings = list.warnings;
  note_captions(list, verdicts, examination);
  return examination;
}

}  // namespace

Examination examine_list(ImportList list, const ExamineOptions& options) {
  std::vector<bool> bad;
  for (const ImportRow& row : list.rows) bad.push_back(!row.refusal.empty());
  refuse_duplicates(list);
  const RowLoader loader(list);
  std::vector<Verdict> verdicts =
      judge_rows(list.rows.size(), options, [&](size_t i) { return judge_row(loader, list.rows[i], options.decode); });
  for (size_t i = 0; i < verdicts.size(); ++i) {
    if (!bad[i] && !list.rows[i].refusal.empty()) verdicts[i].kind = FindingKind::kListedTwice;
  }
  return conclude(list, verdicts, options.decode);
}

Examination examine_store(const Store& store, const ExamineOptions& options) {
  ImportList list;
  for (int64_t image = 0; image < store.images(); ++image) {
    ImportRow row;
    row.where = fmt::format("image {}", image);
    row.image = store.source_path(image);
    row.identity = store.identity_name(store.identity(image));
    row.split = store.split(image);
    for (int64_t i = 0; i < store.caption_count(image); ++i)
      row.captions.push_back(store.caption(store.first_caption(image) + i));
    list.rows.push_back(std::move(row));
  }
  const auto judge = [&](size_t i) -> Verdict {
    if (!options.decode) return {};
    const ImportRow& row = list.rows[i];
    try {
      const auto image = static_cast<int64_t>(i);
      if (store.has_regions()) {
        std::vector<uint16_t> features(static_cast<size_t>(store.region_count(image) * store.region_width()));
        std::vector<float> boxes(static_cast<size_t>(store.region_count(image)) * 4);
        store.read_regions(image, features.data(), boxes.data());
        if (store.image_size(image) == 0) return {};
      }
      const std::vector<uint8_t> bytes = store.image_bytes(image);
      decode_image(bytes.data(), bytes.size(), row.image);
    } catch (const DataError& error) {
      return {FindingKind::kUnreadable, row.where + ": " + error.what()};
    }
    return {};
  };
  return conclude(list, judge_rows(list.rows.size(), options, judge), options.decode);
}

}  // namespace muster
