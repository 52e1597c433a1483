#include "dataloader/importers/jsonl.h"

#include <map>
#include <optional>
#include <utility>

#include "dataloader/formats/json.h"
#include "dataloader/formats/line_reader.h"
#include "dataloader/importers/json_fields.h"
#include "launch/error.h"

namespace muster {
namespace {

using nlohmann::json;

constexpr size_t kMaxLineBytes = size_t{1} << 20;

std::vector<std::string> captions_of(const json& line) {
  const json* list = json_field(line, "captions");
  const json* one = json_field(line, "caption");
  if ((list == nullptr) == (one == nullptr)) {
    throw DataError("give captions (a list of strings; [] for an image of the gallery only), or one caption");
  }
  if (list != nullptr) return json_captions(*list, "captions");
  return json_captions(json::array({json_text(*one, "caption")}), "caption");
}

class JsonLines {
 public:
  JsonLines(const std::string& path, Split otherwise) : reader_(path, kMaxLineBytes), otherwise_(otherwise) {}

  std::optional<ImportRow> next() {
    std::string line;
    do {
      if (!reader_.next(line)) return std::nullopt;
    } while (line.find_first_not_of(" \t") == std::string::npos);
    ImportRow row;
    row.where = reader_.where();
    try {
      parse(line, row);
    } catch (const DataError& error) {
      row.refusal = error.what();
    }
    return row;
  }

  // A word misspelt would else be lost without a sound.
  void warn_of_ignored(std::vector<std::string>& warnings) const {
    for (const auto& [name, count] : ignored_) {
      warnings.push_back("the field \"" + name + "\" means nothing here and was ignored (" + std::to_string(count) +
                         " lines)");
    }
  }

 private:
  static constexpr size_t kMaxIgnored = 20;

  void parse(const std::string& text, ImportRow& row) {
    const json line = parse_json(text);
    if (!line.is_object()) throw DataError("a line must be a JSON object, not " + json_type_name(line));
    const json* image = json_field(line, "image");
    if (image == nullptr) throw DataError("the field image (the path of the image) is missing");
    row.image = json_text(*image, "image");
    const json* identity = json_field(line, "identity");
    row.identity = identity == nullptr ? row.image : json_identity(*identity, "identity");
    row.captions = captions_of(line);
    const json* split = json_field(line, "split");
    row.split = split == nullptr ? otherwise_ : json_split(*split);
    for (const auto& [name, value] : line.items()) {
      const bool known =
          name == "image" || name == "identity" || name == "captions" || name == "caption" || name == "split";
      if (!known && (ignored_.size() < kMaxIgnored || ignored_.count(name) > 0)) ++ignored_[name];
    }
  }

  LineReader reader_;
  Split otherwise_;
  std::map<std::string, int64_t> ignored_;
};

}  // namespace

ImportList read_jsonl(const std::string& path, const RowDefaults& defaults) {
  ImportList list;
  list.source = path;
  list.root = root_of(path, defaults);
  JsonLines lines(path, defaults.split);
  while (std::optional<ImportRow> row = lines.next()) list.rows.push_back(std::move(*row));
  lines.warn_of_ignored(list.warnings);
  return list;
}

}  // namespace muster
