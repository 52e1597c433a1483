#include "dataloader/importers/class_sets.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <utility>

#include "dataloader/formats/file.h"
#include "dataloader/formats/line_reader.h"
#include "dataloader/formats/utf8.h"
#include "launch/error.h"

namespace muster {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxLineBytes = 1 << 16;
constexpr const char* kTexts = "text_c10";
constexpr const char* kTest = "testclasses.txt";

// Where the lists lie; empty: nowhere.
fs::path folder_of_lists(const ClassSet& set, const fs::path& path) {
  std::vector<fs::path> places = {path};
  for (const std::string& name : set.folders) places.push_back(path / name);
  const auto found = std::find_if(places.begin(), places.end(), [](const fs::path& place) {
    return is_file(place / kTest) && is_folder(place / kTexts);
  });
  return found == places.end() ? fs::path() : *found;
}

// One line of a list of classes.
struct Class {
  std::string where;
  std::string name;
  Split split = Split::kTrain;
};

void read_list(const fs::path& path, Split split, std::vector<Class>& classes) {
  LineReader lines(path.string(), kMaxLineBytes);
  for (std::string line; lines.next(line);) {
    line.erase(line.find_last_not_of(" \t") + 1);
    line.erase(0, line.find_first_not_of(" \t"));
    if (line.empty()) continue;
    check_utf8(line, lines.where() + ": ");
    if (line.find('/') != std::string::npos || line.find('\0') != std::string::npos || line == "." || line == "..") {
      throw DataError(lines.where() + ": a class is the name of a folder, without slashes; correct it");
    }
    classes.push_back({lines.where(), line, split});
  }
}

std::vector<Class> read_lists(const ClassSet& set, const fs::path& folder, std::vector<std::string>& warnings) {
  std::vector<Class> classes;
  const bool apart = is_file(folder / "trainclasses.txt") && is_file(folder / "valclasses.txt");
  if (apart) {
    read_list(folder / "trainclasses.txt", Split::kTrain, classes);
    read_list(folder / "valclasses.txt", Split::kVal, classes);
  } else if (is_file(folder / "trainvalclasses.txt")) {
    read_list(folder / "trainvalclasses.txt", Split::kTrain, classes);
    warnings.push_back(
        fmt::format("{} has no trainclasses.txt and valclasses.txt: the classes of trainvalclasses.txt "
                    "are all train, and there is no val",
                    folder.string()));
  } else {
    throw DataError(
        fmt::format("{} lacks trainclasses.txt and valclasses.txt, or trainvalclasses.txt; they come with "
                    "the captions of {}",
                    folder.string(), set.published.name));
  }
  read_list(folder / kTest, Split::kTest, classes);
  std::map<std::string, std::string> first_of;
  for (const Class& one : classes) {
    const auto [first, is_new] = first_of.emplace(one.name, one.where);
    if (!is_new) {
      throw DataError(fmt::format("{}: class {} was listed before ({}); a class is in one split", one.where, one.name,
                                  first->second));
    }
  }
  if (classes.empty()) throw DataError((folder / kTest).string() + ": the lists name no class");
  return classes;
}

// Names without their extension of the files in a folder that have one of these, sorted.
std::vector<std::pair<std::string, std::string>> files_in(const fs::path& folder, const std::set<std::string>& kinds) {
  std::vector<std::pair<std::string, std::string>> files;
  std::error_code error;
  fs::directory_iterator entries(folder, error);
  for (; !error && entries != fs::directory_iterator(); entries.increment(error)) {
    const fs::path& path = entries->path();
    const std::string name = path.filename().string();
    if (name.front() != '.' && kinds.count(path.extension().string()) > 0)
      files.emplace_back(path.stem().string(), name);
  }
  if (error) throw DataError("cannot read " + folder.string() + ": " + error.message());
  std::sort(files.begin(), files.end());
  return files;
}

// The pictures of a set: a folder for each class, or one for all.
struct Pictures {
  std::string root;
  bool by_class = true;
};

Pictures find_pictures(const fs::path& folder, const std::vector<Class>& classes, const std::string& given) {
  std::vector<fs::path> places = {given};
  if (given.empty()) {
    for (const fs::path& base : {folder, folder / "CUB_200_2011", folder.parent_path() / "CUB_200_2011",
                                 folder / "102flowers", folder.parent_path()}) {
      places.push_back(base / "images");
      places.push_back(base / "jpg");
    }
    places.erase(places.begin());
  }
  const auto has_class = [&](const fs::path& place) {
    return std::any_of(classes.begin(), classes.end(), [&](const Class& one) { return is_folder(place / one.name); });
  };
  const auto has_picture = [](const fs::path& place) {
    return is_folder(place) && !files_in(place, {".jpg", ".jpeg", ".png"}).empty();
  };
  for (const fs::path& place : places) {
    if (has_class(place)) return {place.string(), true};
  }
  for (const fs::path& place : places) {
    if (has_picture(place)) return {place.string(), false};
  }
  throw DataError(
      fmt::format("{} has neither a folder for each class, such as {}, nor pictures; the captions come "
                  "without them: give the folder of the original pictures with --root",
                  given.empty() ? "images beside the lists" : given, classes.front().name));
}

std::vector<std::string> read_captions(const std::string& path) {
  std::vector<std::string> captions;
  LineReader lines(path, kMaxLineBytes);
  for (std::string line; lines.next(line);) {
    check_utf8(line, lines.where() + ": ");
    if (caption_refusal(line).empty()) captions.push_back(line);
  }
  return captions;
}

ImportRow row_of(const Class& one, const fs::path& texts, const std::string& text, const std::string& image) {
  ImportRow row;
  row.where = (texts / text).string();
  row.image = image;
  row.identity = one.name;
  row.split = one.split;
  try {
    row.captions = read_captions(row.where);
    if (row.captions.empty()) row.refusal = "there is no caption in it; write one a line";
  } catch (const DataError& error) {
    row.refusal = error.what();
    const std::string place = row.where + ":";
    if (row.refusal.rfind(place, 0) == 0) row.refusal = "line " + row.refusal.substr(place.size());
  }
  return row;
}

void add_class(const Class& one, const fs::path& folder, const Pictures& pictures, ImportList& list) {
  const fs::path texts = folder / kTexts / one.name;
  if (!is_folder(texts)) {
    ImportRow row;
    row.where = one.where;
    row.refusal = fmt::format("class {} has no folder {}/{}", one.name, kTexts, one.name);
    list.rows.push_back(std::move(row));
    return;
  }
  const std::string prefix = pictures.by_class ? one.name + "/" : "";
  std::map<std::string, std::string> image_of;  // stem -> file
  if (const fs::path images = fs::path(pictures.root) / one.name; pictures.by_class && is_folder(images)) {
    for (const auto& [stem, file] : files_in(images, {".jpg", ".jpeg", ".png"})) image_of[stem] = file;
  }
  for (const auto& [stem, text] : files_in(texts, {".txt"})) {
    const auto found = image_of.find(stem);
    list.rows.push_back(row_of(one, texts, text, prefix + (found == image_of.end() ? stem + ".jpg" : found->second)));
    if (found != image_of.end()) image_of.erase(found);
  }
  for (const auto& [stem, file] : image_of) {
    ImportRow row;
    row.where = (fs::path(pictures.root) / one.name / file).string();
    row.image = prefix + file;
    row.identity = one.name;
    row.split = one.split;
    list.rows.push_back(std::move(row));
  }
}

// The makers give counts of train and val together.
void compare_training(const ClassSet& set, ImportList& list) {
  int64_t here = 0;
  std::set<std::string> names;
  for (const ImportRow& row : list.rows) {
    if (!row.refusal.empty() || row.split == Split::kTest) continue;
    ++here;
    names.insert(row.identity);
  }
  const auto differ = [&](const char* what, int64_t count, int64_t there) {
    if (count == there) return;
    list.warnings.push_back(fmt::format("train and val together: {} {} here, {} in {} as published", count, what, there,
                                        set.published.name));
  };
  differ("images", here, set.training.images);
  differ("classes", static_cast<int64_t>(names.size()), set.training.identities);
}

}  // namespace

const std::vector<ClassSet>& class_sets() {
  constexpr int64_t kUnknown = PublishedCounts::kUnknown;
  static const std::vector<ClassSet> sets = {
      {"cub",
       {"cub", "CUB", "cub_icml", "cvpr2016_cub", "birds"},
       {"CUB", {{{kUnknown, kUnknown, 100}, {kUnknown, kUnknown, 50}, {2933, 29330, 50}}}},
       {8855, 88550, 150}},
      {"flowers",
       {"flowers", "Flowers", "flowers_icml", "cvpr2016_flowers"},
       {"Flowers-102", {{{kUnknown, kUnknown, 62}, {kUnknown, kUnknown, 20}, {1155, 11550, 20}}}},
       {7034, 70340, 82}},
  };
  return sets;
}

const ClassSet* find_class_set(const std::string& folder) {
  for (const ClassSet& set : class_sets()) {
    const fs::path lists = folder_of_lists(set, folder);
    if (lists.empty()) continue;
    LineReader lines((lists / kTest).string(), kMaxLineBytes);
    std::string first;
    while (first.empty() && lines.next(first)) {
    }
    return &class_sets()[first.rfind("class_", 0) == 0 ? 1 : 0];
  }
  return nullptr;
}

ImportList read_class_set(const ClassSet& set, const std::string& path, const std::string& root) {
  const fs::path folder = folder_of_lists(set, path);
  if (folder.empty()) {
    throw DataError(fmt::format("{} and {}/ are neither in {} nor in its folder {}; give the folder that holds them",
                                kTest, kTexts, path, fmt::join(set.folders, " or ")));
  }
  ImportList list;
  list.source = folder.string();
  list.published = &set.published;
  const std::vector<Class> classes = read_lists(set, folder, list.warnings);
  const Pictures pictures = find_pictures(folder, classes, root);
  list.root = pictures.root;
  for (const Class& one : classes) add_class(one, folder, pictures, list);
  compare_training(set, list);
  return list;
}

}  // namespace muster
