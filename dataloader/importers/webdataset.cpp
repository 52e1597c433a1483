#include "dataloader/importers/webdataset.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <utility>

#include "dataloader/formats/json.h"
#include "dataloader/formats/tar_reader.h"
#include "dataloader/formats/utf8.h"
#include "dataloader/importers/json_fields.h"
#include "launch/error.h"

namespace muster {
namespace {

using nlohmann::json;

constexpr size_t kMaxNames = 1000000;
constexpr size_t kMaxTextBytes = size_t{1} << 20;

const std::set<std::string> kImages = {"jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"};

bool all_digits(const std::string& text) {
  return !text.empty() && text.size() <= 9 && text.find_first_not_of("0123456789") == std::string::npos;
}

// What stands between braces; empty if they are ordinary characters.
std::vector<std::string> choices(const std::string& inside) {
  std::vector<std::string> found;
  if (const size_t dots = inside.find(".."); dots != std::string::npos) {
    const std::string first = inside.substr(0, dots), last = inside.substr(dots + 2);
    if (!all_digits(first) || !all_digits(last) || std::stol(first) > std::stol(last)) return {};
    const bool padded = first.size() == last.size() || first[0] == '0';
    const size_t width = padded ? std::max(first.size(), last.size()) : 1;
    if (std::stol(last) - std::stol(first) >= static_cast<int64_t>(kMaxNames)) {
      throw ConfigError("{" + inside + "} stands for more than " + std::to_string(kMaxNames) + " files");
    }
    for (int64_t i = std::stol(first); i <= std::stol(last); ++i) found.push_back(fmt::format("{:0{}d}", i, width));
    return found;
  }
  if (inside.find(',') == std::string::npos) return {};
  for (size_t begin = 0; begin <= inside.size();) {
    const size_t end = std::min(inside.find(',', begin), inside.size());
    found.push_back(inside.substr(begin, end - begin));
    begin = end + 1;
  }
  return found;
}

// The members of one key.
struct Sample {
  std::string key;
  std::vector<std::pair<std::string, TarReader::Member>> members;  // by extension, lower case
};

// "a/b.seg.png" -> "a/b" and "seg.png", as webdataset cuts it.
std::pair<std::string, std::string> cut_name(const std::string& name) {
  const size_t slash = name.rfind('/');
  const size_t dot = name.find('.', slash == std::string::npos ? 0 : slash + 1);
  if (dot == std::string::npos) return {name, ""};
  std::string extension = name.substr(dot + 1);
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return {name.substr(0, dot), extension};
}

class TarSamples {
 public:
  TarSamples(const std::string& path, int32_t container, Split split, ImportList& list)
      : tar_(path),
        name_(std::filesystem::path(path).filename().string()),
        container_(container),
        split_(split),
        list_(list) {}

  void read_all() {
    Sample sample;
    for (TarReader::Member member; tar_.next(member);) {
      auto [key, extension] = cut_name(member.name);
      if (key != sample.key) add(std::exchange(sample, Sample{key, {}}));
      sample.members.emplace_back(extension, member);
    }
    add(sample);
  }

  std::map<std::string, int64_t> ignored;  // extensions that mean nothing here

 private:
  void add(const Sample& sample) {
    if (sample.members.empty()) return;
    ImportRow row;
    row.where = tar_.file().path() + ": " + printable(sample.key);
    try {
      parse(sample, row);
    } catch (const DataError& error) {
      row.refusal = error.what();
    }
    list_.rows.push_back(std::move(row));
  }

  void parse(const Sample& sample, ImportRow& row) {
    check_utf8(sample.key, "the name is ");
    if (sample.key.find('\0') != std::string::npos) throw DataError("the name holds a zero byte");
    row.identity = name_ + "/" + sample.key;
    row.split = split_;
    std::vector<std::string> text, from_json;
    for (const auto& [extension, member] : sample.members) {
      if (kImages.count(extension) > 0) {
        set_image(member, row);
      } else if (extension == "txt") {
        text = json_captions(json::array({text_of(member)}), "txt");
      } else if (extension == "json") {
        from_json = parse_fields(tar_.read(member, kMaxTextBytes), row);
      } else if (ignored.size() < 20 || ignored.count(extension) > 0) {
        ++ignored[extension];
      }
    }
    if (row.container < 0) throw DataError("the sample has no image (.jpg or .png)");
    row.captions = text.empty() || from_json.size() > 1 ? from_json : text;
  }

  void set_image(const TarReader::Member& member, ImportRow& row) const {
    if (row.container >= 0) throw DataError("the sample has two images, or two samples have one name");
    row.image = name_ + "/" + member.name;
    row.container = container_;
    row.begin = member.begin;
    row.bytes = member.bytes;
  }

  std::string text_of(const TarReader::Member& member) const {
    std::string text = tar_.read(member, kMaxTextBytes);
    check_utf8(text, "the caption is ");
    while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
    return text;
  }

  // Sets identity and split, returns the captions.
  static std::vector<std::string> parse_fields(const std::string& text, ImportRow& row) {
    const json object = parse_json(text);
    if (!object.is_object()) throw DataError("the json must be an object, not " + json_type_name(object));
    if (const json* identity = json_field(object, "identity")) row.identity = json_identity(*identity, "identity");
    if (const json* split = json_field(object, "split")) row.split = json_split(*split);
    if (const json* captions = json_field(object, "captions")) return json_captions(*captions, "captions");
    const json* caption = json_field(object, "caption");
    return caption == nullptr ? std::vector<std::string>()
                              : json_captions(json::array({json_text(*caption, "caption")}), "caption");
  }

  // For messages, which are one line of text whatever the name is.
  static std::string printable(const std::string& name) {
    std::string text = name.substr(0, 200);
    for (char& c : text) c = static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) > 0x7e ? '?' : c;
    return text;
  }

  TarReader tar_;
  std::string name_;
  int32_t container_;
  Split split_;
  ImportList& list_;
};

}  // namespace

std::vector<std::string> expand_braces(const std::string& pattern) {
  for (size_t open = pattern.find('{'); open != std::string::npos; open = pattern.find('{', open + 1)) {
    const size_t close = pattern.find('}', open);
    if (close == std::string::npos) break;
    const std::vector<std::string> inside = choices(pattern.substr(open + 1, close - open - 1));
    if (inside.empty()) continue;
    const std::vector<std::string> rest = expand_braces(pattern.substr(close + 1));
    if (inside.size() * rest.size() > kMaxNames) {
      throw ConfigError(pattern + " stands for more than " + std::to_string(kMaxNames) + " files");
    }
    std::vector<std::string> names;
    for (const std::string& choice : inside) {
      for (const std::string& end : rest) names.push_back(pattern.substr(0, open) + choice + end);
    }
    return names;
  }
  return {pattern};
}

ImportList read_webdataset(const std::vector<std::string>& patterns, Split split) {
  ImportList list;
  std::map<std::string, std::string> path_of;
  std::map<std::string, int64_t> ignored;
  for (const std::string& pattern : patterns) {
    for (const std::string& path : expand_braces(pattern)) {
      const auto [first, is_new] = path_of.emplace(std::filesystem::path(path).filename().string(), path);
      if (!is_new) throw DataError(path + " and " + first->second + " have one name; rename one");
      TarSamples samples(path, static_cast<int32_t>(list.containers.size()), split, list);
      list.containers.push_back(path);
      samples.read_all();
      for (const auto& [extension, count] : samples.ignored) ignored[extension] += count;
    }
  }
  list.source = patterns.empty() ? "" : patterns.front();
  for (const auto& [extension, count] : ignored) {
    list.warnings.push_back(
        fmt::format("members .{} mean nothing here and were ignored ({} of them)", extension, count));
  }
  return list;
}

}  // namespace muster
