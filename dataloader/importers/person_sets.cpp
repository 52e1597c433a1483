#include "dataloader/importers/person_sets.h"

#include <fmt/format.h>

#include <filesystem>
#include <utility>

#include "dataloader/formats/file.h"
#include "dataloader/formats/json.h"
#include "dataloader/formats/json_items.h"
#include "dataloader/importers/json_fields.h"
#include "launch/error.h"

namespace muster {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr char kNoSplit[] =
    "; caption_all.json, which many people have, is the same list without splits and cannot stand in for it";

// The folder itself and those in it that are called after the set.
std::vector<fs::path> places(const PersonSet& set, const fs::path& folder) {
  std::vector<fs::path> found = {folder};
  for (const std::string& name : set.folders) found.push_back(folder / name);
  return found;
}

fs::path find_list(const PersonSet& set, const std::string& path) {
  if (!is_folder(path)) return path;
  bool has_caption_all = false;
  for (const fs::path& folder : places(set, path)) {
    for (const std::string& name : set.lists) {
      if (is_file(folder / name)) return folder / name;
    }
    has_caption_all |= is_file(folder / "caption_all.json");
  }
  throw DataError(fmt::format("{} is neither in {} nor in its folder {}; give the folder that holds it, or the file{}",
                              fmt::join(set.lists, " or "), path, fmt::join(set.folders, " or "),
                              has_caption_all ? kNoSplit : ""));
}

std::string find_root(const PersonSet& set, const fs::path& list) {
  const fs::path beside = list.parent_path().empty() ? "." : list.parent_path();
  for (const fs::path& folder : places(set, beside)) {
    if (is_folder(folder / "imgs")) return (folder / "imgs").string();
  }
  throw DataError(
      fmt::format("there is no folder imgs beside {} or in {} there; give the folder of the images with "
                  "--root",
                  list.string(), set.folders.front()));
}

std::string missing(const char* name) {
  return fmt::format("the field {} is missing", name);
}

const json& need(const json& entry, const char* name) {
  const json* value = json_field(entry, name);
  if (value == nullptr) throw DataError(missing(name));
  return *value;
}

void parse(const PersonSet& set, const json& entry, ImportRow& row) {
  if (!entry.is_object()) throw DataError("an entry must be a JSON object, not " + json_type_name(entry));
  row.image = json_text(need(entry, set.image_field), set.image_field);
  row.identity = json_identity(need(entry, "id"), "id");
  row.captions = json_captions(need(entry, "captions"), "captions");
  row.split = json_split(need(entry, "split"));
}

}  // namespace

const std::vector<PersonSet>& person_sets() {
  static const std::vector<PersonSet> sets = {
      {"cuhk-pedes",
       {"reid_raw.json"},
       {"CUHK-PEDES", "CUHK_PEDES"},
       "file_path",
       {"CUHK-PEDES", {{{34054, 68126, 11003}, {3078, 6158, 1000}, {3074, 6156, 1000}}}}},
      {"icfg-pedes",
       {"ICFG-PEDES.json", "ICFG_PEDES.json"},
       {"ICFG-PEDES", "ICFG_PEDES"},
       "file_path",
       {"ICFG-PEDES", {{{34674, 34674, 3102}, {0, 0, 0}, {19848, 19848, 1000}}}}},
      {"rstpreid",
       {"data_captions.json"},
       {"RSTPReid"},
       "img_path",
       {"RSTPReid", {{{18505, 37010, 3701}, {1000, 2000, 200}, {1000, 2000, 200}}}}},
  };
  return sets;
}

const PersonSet& person_set(const std::string& command) {
  for (const PersonSet& set : person_sets()) {
    if (set.command == command) return set;
  }
  throw ConfigError("there is no set \"" + command + "\"");
}

ImportList read_person_set(const PersonSet& set, const std::string& path, const std::string& root) {
  ImportList list;
  const fs::path file = find_list(set, path);
  list.source = file.string();
  list.published = &set.published;
  JsonItems items(list.source);
  while (items.next()) {
    ImportRow row;
    row.where = items.where();
    try {
      parse(set, items.item(), row);
    } catch (const DataError& error) {
      row.refusal = error.what();
    }
    list.rows.push_back(std::move(row));
    if (list.rows.front().refusal == missing("split")) {
      throw DataError(fmt::format("{} has no field split: this is not the {} of {}{}", list.rows.front().where,
                                  set.lists.front(), set.published.name, kNoSplit));
    }
  }
  list.root = root.empty() ? find_root(set, file) : root;
  return list;
}

}  // namespace muster
