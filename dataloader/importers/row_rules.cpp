#include <algorithm>
#include <filesystem>
#include <map>
#include <unordered_map>
#include <utility>

#include "dataloader/formats/hashes.h"
#include "dataloader/importers/importer.h"
#include "dataloader/random.h"
#include "dataloader/text/unicode.h"
#include "launch/error.h"

namespace muster {

std::string root_of(const std::string& list_path, const RowDefaults& defaults) {
  if (!defaults.root.empty()) return defaults.root;
  const std::string folder = std::filesystem::path(list_path).parent_path().string();
  return folder.empty() ? "." : folder;
}

void hold_out_identities(ImportList& list, int64_t count, uint64_t seed) {
  std::map<std::string, bool> only_in_train;
  for (const ImportRow& row : list.rows) {
    if (!row.refusal.empty()) continue;
    if (row.split == Split::kVal) {
      throw ConfigError("--holdout-identities makes a val split, and " + list.source +
                        " has one of its own; leave the flag out");
    }
    const auto place = only_in_train.emplace(row.identity, true).first;
    place->second &= row.split == Split::kTrain;
  }
  std::vector<std::pair<uint64_t, std::string>> drawn;
  for (const auto& [identity, in_train] : only_in_train) {
    if (!in_train) continue;
    KeyedRandom random(seed, xxh3_64(identity.data(), identity.size()), Purpose::kHoldout);
    drawn.emplace_back(random.next_u64(), identity);
  }
  if (count < 1 || static_cast<size_t>(count) >= drawn.size()) {
    const std::string remedy =
        drawn.size() < 2 ? "leave the flag out" : "give at most " + std::to_string(drawn.size() - 1);
    throw ConfigError("--holdout-identities " + std::to_string(count) + ": " + list.source + " has " +
                      std::to_string(drawn.size()) + " identities for training, and one must be left to train on; " +
                      remedy);
  }
  std::sort(drawn.begin(), drawn.end());
  std::map<std::string, bool> chosen;
  for (int64_t i = 0; i < count; ++i) chosen[drawn[static_cast<size_t>(i)].second] = true;
  for (ImportRow& row : list.rows) {
    if (chosen.count(row.identity) > 0) row.split = Split::kVal;
  }
}

void refuse_duplicates(ImportList& list) {
  if (list.rows.empty()) throw DataError(list.source + ": the list is empty; it names no image");
  std::unordered_map<std::string, const ImportRow*> first_of;
  for (ImportRow& row : list.rows) {
    if (!row.refusal.empty()) continue;
    const std::string place = row.container < 0 ? "" : list.containers[static_cast<size_t>(row.container)] + ":";
    const auto [first, is_new] =
        first_of.emplace(place + std::filesystem::path(row.image).lexically_normal().string(), &row);
    if (is_new) continue;
    row.refusal =
        "image " + row.image + " was listed before (" + first->second->where + "); give all its captions in one row";
  }
}

std::string caption_refusal(const std::string& caption) {
  if (caption.find('\0') != std::string::npos) return "a caption holds a zero byte; correct it";
  const CodePoints text = decode_utf8(caption);
  return std::all_of(text.begin(), text.end(), is_invisible) ? "a caption is empty; remove it or write one" : "";
}

}  // namespace muster
