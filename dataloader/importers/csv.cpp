#include "dataloader/importers/csv.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <unordered_map>

#include "dataloader/formats/csv_reader.h"
#include "launch/error.h"

namespace muster {
namespace {

constexpr char kNoColumn[] = "none";

// What a column is for, and what it is usually called.
struct Role {
  const char* name;
  const char* flag;
  std::vector<std::string> usual;
  bool required;
};

const Role kImage = {"image",
                     "--image-key",
                     {"image", "filepath", "file_path", "path", "image_path", "img_path", "filename", "file_name",
                      "image_name", "img", "file"},
                     true};
const Role kCaption = {
    "caption", "--caption-key", {"caption", "title", "text", "description", "comment", "sentence"}, true};
const Role kIdentity = {
    "identity", "--identity-key", {"identity", "id", "label", "person_id", "pid", "identity_id", "class"}, false};
const Role kSplit = {"split", "--split-key", {"split", "subset", "set", "partition"}, false};

std::string plain(std::string name) {
  const auto is_space = [](char c) { return c == ' ' || c == '\t'; };
  while (!name.empty() && is_space(name.back())) name.pop_back();
  name.erase(name.begin(), std::find_if_not(name.begin(), name.end(), is_space));
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return name;
}

// The header: which field of a record is what.
class Columns {
 public:
  Columns(std::string where, const std::vector<std::string>& names, const CsvOptions& options)
      : where_(std::move(where)), names_(names) {
    image = find(kImage, options.image_key);
    caption = find(kCaption, options.caption_key);
    identity = find(kIdentity, options.identity_key);
    split = find(kSplit, options.split_key);
  }

  size_t count() const { return names_.size(); }

  std::optional<size_t> image, caption, identity, split;

 private:
  std::optional<size_t> find(const Role& role, const std::string& key) const {
    if (key == kNoColumn && &role != &kImage) return std::nullopt;
    std::vector<size_t> found;
    for (size_t i = 0; i < names_.size(); ++i) {
      const std::string name = plain(names_[i]);
      const bool is_usual = std::find(role.usual.begin(), role.usual.end(), name) != role.usual.end();
      if (key.empty() ? is_usual : names_[i] == key || name == plain(key)) found.push_back(i);
    }
    if (found.size() == 1) return found.front();
    if (found.size() > 1) {
      throw DataError(fmt::format("{}: the columns \"{}\" and \"{}\" could both be the {}; name one with {}", where_,
                                  names_[found[0]], names_[found[1]], role.name, role.flag));
    }
    if (!role.required && key.empty()) return std::nullopt;
    throw DataError(fmt::format(
        "{}: no column {}; the columns are {}; name the one of the {} with {}", where_,
        key.empty() ? fmt::format("is called {}", fmt::join(role.usual, ", ")) : fmt::format("is called \"{}\"", key),
        quoted_names(), role.name, role.flag));
  }

  std::string quoted_names() const {
    constexpr size_t kShown = 12;
    std::string text;
    for (size_t i = 0; i < std::min(kShown, names_.size()); ++i)
      text += (i > 0 ? ", \"" : "\"") + names_[i].substr(0, 60) + '"';
    return names_.size() > kShown ? text + ", ..." : text;
  }

  std::string where_;
  const std::vector<std::string>& names_;
};

// Gathers the records of each image.
class CsvRows {
 public:
  CsvRows(const Columns& columns, const RowDefaults& defaults, std::vector<ImportRow>& rows)
      : columns_(columns), defaults_(defaults), rows_(rows) {}

  // DataError: what is wrong with the record.
  void add(const std::string& where, const std::vector<std::string>& fields) {
    if (fields.size() != columns_.count()) {
      throw DataError(
          fmt::format("{} fields, but the header names {} columns; does a caption hold the delimiter? "
                      "Put it in quotes",
                      fields.size(), columns_.count()));
    }
    ImportRow row;
    row.where = where;
    row.image = fields[*columns_.image];
    if (row.image.empty()) throw DataError("the image's path is empty; correct it");
    row.identity = columns_.identity ? fields[*columns_.identity] : "";
    if (row.identity.empty()) row.identity = row.image;
    row.split = defaults_.split;
    if (columns_.split && !fields[*columns_.split].empty()) row.split = split_of(fields[*columns_.split]);
    // An empty field is no caption: the image is in the gallery only, unless another record has one.
    if (columns_.caption && !fields[*columns_.caption].empty()) {
      row.captions.push_back(fields[*columns_.caption]);
      if (const std::string refusal = caption_refusal(row.captions[0]); !refusal.empty()) throw DataError(refusal);
    }
    merge(std::move(row));
  }

 private:
  static Split split_of(const std::string& name) {
    try {
      return split_from_name(name);
    } catch (const ConfigError& error) {
      throw DataError(error.what());
    }
  }

  void merge(ImportRow row) {
    const std::string place = std::filesystem::path(row.image).lexically_normal().string();
    const auto [known, is_new] = place_of_.emplace(place, rows_.size());
    if (is_new) {
      rows_.push_back(std::move(row));
      return;
    }
    ImportRow& first = rows_[known->second];
    const bool same_identity = columns_.identity ? first.identity == row.identity : true;
    if (!same_identity) {
      throw DataError(
          fmt::format("image {} has the identity {} here and {} in {}; correct one, or give --identity-key "
                      "none if that column numbers the rows",
                      row.image, row.identity, first.identity, first.where));
    }
    if (first.split != row.split) {
      throw DataError(fmt::format("image {} is in {} here and in {} in {}; correct one", row.image,
                                  split_name(row.split), split_name(first.split), first.where));
    }
    first.captions.insert(first.captions.end(), row.captions.begin(), row.captions.end());
  }

  const Columns& columns_;
  const RowDefaults& defaults_;
  std::vector<ImportRow>& rows_;
  std::unordered_map<std::string, size_t> place_of_;  // of an image, in rows_
};

ImportRow refused(const std::string& where, std::string reason) {
  if (reason.compare(0, where.size() + 2, where + ": ") == 0) reason.erase(0, where.size() + 2);
  ImportRow row;
  row.where = where;
  row.refusal = std::move(reason);
  return row;
}

}  // namespace

ImportList read_csv(const std::string& path, const CsvOptions& options, const RowDefaults& defaults) {
  ImportList list;
  list.source = path;
  list.root = root_of(path, defaults);
  CsvReader reader(path, options.delimiter, options.quoted);
  std::vector<std::string> header, fields;
  if (!reader.next(header)) throw DataError(path + ": the list is empty; its first line must name the columns");
  const Columns columns(reader.where(), header, options);
  CsvRows rows(columns, defaults, list.rows);
  for (bool more = true; more;) {
    try {
      more = reader.next(fields);
      if (more) rows.add(reader.where(), fields);
    } catch (const DataError& error) {
      if (reader.ended()) throw;
      list.rows.push_back(refused(reader.where(), error.what()));
    }
  }
  return list;
}

}  // namespace muster
