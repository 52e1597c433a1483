#include "dataloader/importers/source.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "dataloader/formats/file.h"
#include "dataloader/importers/webdataset.h"
#include "launch/error.h"

namespace muster {
namespace {

namespace fs = std::filesystem;
using Kind = Source::Kind;

constexpr size_t kStartBytes = 4096;
constexpr size_t kShown = 5;

bool begins_with(std::string_view text, std::string_view start) {
  return text.substr(0, start.size()) == start;
}

std::string extension_of(const fs::path& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return extension;
}

std::string what_is_recognised() {
  std::string text = "recognised are ";
  for (const PersonSet& set : person_sets())
    text += fmt::format("{} ({}), ", set.published.name, fmt::join(set.lists, " or "));
  for (const ClassSet& set : class_sets()) text += fmt::format("{} (testclasses.txt), ", set.published.name);
  return text + "JSON lines (.jsonl), tables (.csv, .tsv), webdataset (.tar) and Muster stores";
}

[[noreturn]] void refuse(const std::string& path, const std::string& what) {
  throw DataError(fmt::format("{} {}; {}", path, what, what_is_recognised()));
}

std::string start_of(const std::string& path) {
  const InputFile file(path);
  std::string start(std::min<uint64_t>(kStartBytes, file.size()), '\0');
  file.read(start.data(), start.size(), 0);
  return start;
}

// caption_all.json stands for CUHK-PEDES: its reader says what is wrong with it.
constexpr char kCaptionAll[] = "caption_all.json";

const PersonSet* set_of_list(const fs::path& path) {
  const std::string name = path.filename().string();
  if (name == kCaptionAll) return &person_sets().front();
  for (const PersonSet& set : person_sets()) {
    if (std::find(set.lists.begin(), set.lists.end(), name) != set.lists.end()) return &set;
  }
  return nullptr;
}

Source source_of_file(const std::string& path) {
  if (const PersonSet* set = set_of_list(path)) return {Kind::kPersonSet, set, {path}};
  if (fs::path(path).filename() == "manifest.textproto") {
    const std::string folder = fs::path(path).parent_path().string();
    return {Kind::kStore, nullptr, {folder.empty() ? "." : folder}};
  }
  const std::string extension = extension_of(path);
  const FileKind kind = file_kind(start_of(path));
  const bool is_text = kind == FileKind::kText || kind == FileKind::kJsonObject || kind == FileKind::kJsonList;
  if (is_text && extension == ".jsonl") return {Kind::kJsonl, nullptr, {path}};
  if (is_text && (extension == ".csv" || extension == ".tsv")) return {Kind::kCsv, nullptr, {path}};
  switch (kind) {
    case FileKind::kEmpty:
      refuse(path, "is empty");
    case FileKind::kJsonList:
      throw DataError(
          fmt::format("{} is a JSON list under another name than that of a set; {}; if it is one of the "
                      "sets, give its path to muster import cuhk-pedes, icfg-pedes or rstpreid",
                      path, what_is_recognised()));
    case FileKind::kJsonObject:
      return {Kind::kJsonl, nullptr, {path}};
    case FileKind::kText:
      return {Kind::kCsv, nullptr, {path}};
    case FileKind::kTar:
      return {Kind::kWebdataset, nullptr, {path}};
    case FileKind::kCompressed:
      throw DataError(path + " is compressed; unpack it first (gunzip, unzip, zstd -d)");
    case FileKind::kUtf16:
      throw DataError(path + " is UTF-16 text; save it as UTF-8, for example with iconv -f UTF-16 -t UTF-8");
    case FileKind::kPicture:
      refuse(path, "is a picture; pictures need a list that names them, with captions");
    case FileKind::kHdf5:
      throw DataError(path + " is an HDF5 file; of a Muster store give the folder that holds it");
    case FileKind::kParquet:
      refuse(path, "is a Parquet file, which is not read; write it as CSV or JSON lines");
    case FileKind::kBinary:
      break;
  }
  if (extension == ".tar") return {Kind::kWebdataset, nullptr, {path}};  // of old programs, without a mark
  refuse(path, "is neither text nor a tar");
}

struct Listing {
  std::vector<std::string> names;  // of lists and tables
  std::vector<std::string> tars;
  int64_t others = 0;
};

Listing list_folder(const std::string& path) {
  Listing listing;
  std::error_code error;
  fs::directory_iterator entries(path, error);
  for (; !error && entries != fs::directory_iterator(); entries.increment(error)) {
    const std::string name = entries->path().filename().string(), extension = extension_of(name);
    const bool candidate = name[0] != '.' && is_file(entries->path());
    if (candidate && extension == ".tar") {
      listing.tars.push_back((fs::path(path) / name).string());
    } else if (candidate && (extension == ".jsonl" || extension == ".csv" || extension == ".tsv")) {
      listing.names.push_back((fs::path(path) / name).string());
    } else {
      ++listing.others;
    }
  }
  if (error) throw DataError("cannot read " + path + ": " + error.message());
  std::sort(listing.names.begin(), listing.names.end());
  std::sort(listing.tars.begin(), listing.tars.end());
  return listing;
}

// The sets whose list is in the folder or in one called after the set.
std::vector<Source> sets_in(const std::string& path) {
  std::vector<Source> found;
  for (const PersonSet& set : person_sets()) {
    std::vector<std::string> lists = set.lists;
    if (&set == &person_sets().front()) lists.emplace_back(kCaptionAll);
    std::vector<fs::path> folders = {path};
    for (const std::string& name : set.folders) folders.push_back(fs::path(path) / name);
    const bool is_there = std::any_of(folders.begin(), folders.end(), [&](const fs::path& folder) {
      return std::any_of(lists.begin(), lists.end(), [&](const std::string& name) { return is_file(folder / name); });
    });
    if (is_there) found.push_back({Kind::kPersonSet, &set, {path}});
  }
  return found;
}

Source source_of_folder(const std::string& path) {
  if (is_file(fs::path(path) / "manifest.textproto")) return {Kind::kStore, nullptr, {path}};
  std::vector<Source> found = sets_in(path);
  const Listing listing = list_folder(path);
  std::vector<std::string> names;
  for (const Source& source : found) names.emplace_back(source.set->published.name);
  if (const ClassSet* classes = find_class_set(path)) {
    found.push_back({Kind::kClassSet, nullptr, {path}, classes});
    names.emplace_back(classes->published.name);
  }
  if (found.empty()) {
    for (const std::string& name : listing.names) {
      found.push_back(source_of_file(name));
      names.push_back(name);
    }
    if (!listing.tars.empty()) {
      found.push_back({Kind::kWebdataset, nullptr, listing.tars});
      names.push_back(fmt::format("{} tars", listing.tars.size()));
    }
  }
  if (found.size() == 1) return found.front();
  if (found.size() > 1) {
    if (names.size() > kShown) {
      names.resize(kShown);
      names.emplace_back("...");
    }
    throw DataError(fmt::format("{} holds several data sets ({}); give the path of one", path, fmt::join(names, ", ")));
  }
  if (listing.others == 0) refuse(path, "is an empty folder");
  refuse(path, fmt::format("holds none of the lists that are read, among {} entries", listing.others));
}

}  // namespace

FileKind file_kind(std::string_view start) {
  using namespace std::string_view_literals;
  if (start.empty()) return FileKind::kEmpty;
  if (start.size() >= 262 && start.substr(257, 5) == "ustar") return FileKind::kTar;
  for (const std::string_view mark :
       {"\x1f\x8b"sv, "\x28\xb5\x2f\xfd"sv, "BZh"sv, "PK\x03\x04"sv, "\xfd\x37zXZ"sv, "7z\xbc\xaf"sv}) {
    if (begins_with(start, mark)) return FileKind::kCompressed;
  }
  for (const std::string_view mark : {"\xff\xd8\xff"sv, "\x89PNG"sv, "GIF8"sv, "RIFF"sv}) {
    if (begins_with(start, mark)) return FileKind::kPicture;
  }
  if (begins_with(start, "\x89HDF\r\n\x1a\n")) return FileKind::kHdf5;
  if (begins_with(start, "PAR1")) return FileKind::kParquet;
  if (begins_with(start, "\xff\xfe") || begins_with(start, "\xfe\xff")) return FileKind::kUtf16;
  if (begins_with(start, "\xef\xbb\xbf")) start.remove_prefix(3);
  if (start.find('\0') != std::string_view::npos) return FileKind::kBinary;
  const size_t first = start.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return FileKind::kEmpty;
  if (start[first] == '[') return FileKind::kJsonList;
  return start[first] == '{' ? FileKind::kJsonObject : FileKind::kText;
}

Source find_source(const std::string& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (fs::is_directory(status)) return source_of_folder(path);
  if (fs::is_regular_file(status)) return source_of_file(path);
  if (fs::exists(status)) refuse(path, "is neither a file nor a folder");
  if (expand_braces(path).size() > 1) return {Kind::kWebdataset, nullptr, {path}};
  if (fs::is_directory(path + ".partial", error)) return {Kind::kStore, nullptr, {path}};  // its reader says so
  throw DataError(fmt::format("there is nothing at {} ({}); give a folder or a file of a data set", path,
                              error ? error.message() : "No such file or directory"));
}

}  // namespace muster
