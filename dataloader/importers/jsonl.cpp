#include "dataloader/importers/jsonl.h"

#include <filesystem>
#include <map>

#include "dataloader/formats/json.h"
#include "dataloader/formats/line_reader.h"
#include "launch/error.h"

namespace muster {
namespace {

using nlohmann::json;

constexpr size_t kMaxLineBytes = size_t{1} << 20;

// A field that is not there and one that is null are the same.
const json* field(const json& line, const char* name) {
  const auto found = line.find(name);
  return found == line.end() || found->is_null() ? nullptr : &*found;
}

std::string text_of(const json& value, const std::string& name) {
  if (!value.is_string()) throw DataError(name + " must be a string, not " + json_type_name(value));
  return value.get<std::string>();
}

std::string identity_of(const json& line, const std::string& image) {
  const json* identity = field(line, "identity");
  if (identity == nullptr) return image;
  if (identity->is_number_integer()) return identity->dump();
  const bool good = identity->is_string() && !identity->get_ref<const std::string&>().empty();
  if (!good)
    throw DataError(
        "identity must be a string that is not empty, or an integer; leave it out for an identity of the image's own");
  return identity->get<std::string>();
}

std::vector<std::string> captions_of(const json& line) {
  const json* list = field(line, "captions");
  const json* one = field(line, "caption");
  if ((list == nullptr) == (one == nullptr)) throw DataError("give captions (a list of strings), or one caption");
  std::vector<std::string> captions;
  if (one != nullptr) captions.push_back(text_of(*one, "caption"));
  if (list != nullptr && !list->is_array())
    throw DataError("captions must be a list of strings, not " + json_type_name(*list));
  if (list != nullptr) {
    for (const json& caption : *list) captions.push_back(text_of(caption, "each caption"));
  }
  if (captions.empty()) throw DataError("captions is empty; give at least one, or remove the line");
  for (const std::string& caption : captions) {
    if (const std::string refusal = caption_refusal(caption); !refusal.empty()) throw DataError(refusal);
  }
  return captions;
}

Split split_of(const json& line) {
  const json* split = field(line, "split");
  if (split == nullptr) return Split::kTrain;
  try {
    return split_from_name(text_of(*split, "split"));
  } catch (const ConfigError& error) {
    throw DataError(error.what());
  }
}

class JsonLines {
 public:
  explicit JsonLines(const std::string& path) : reader_(path, kMaxLineBytes) {}

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

  double fraction() const { return reader_.fraction(); }

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
    const json* image = field(line, "image");
    if (image == nullptr) throw DataError("the field image (the path of the image) is missing");
    row.image = text_of(*image, "image");
    row.identity = identity_of(line, row.image);
    row.captions = captions_of(line);
    row.split = split_of(line);
    for (const auto& [name, value] : line.items()) {
      const bool known =
          name == "image" || name == "identity" || name == "captions" || name == "caption" || name == "split";
      if (!known && (ignored_.size() < kMaxIgnored || ignored_.count(name) > 0)) ++ignored_[name];
    }
  }

  LineReader reader_;
  std::map<std::string, int64_t> ignored_;
};

}  // namespace

ImportReport import_jsonl(const std::string& path, ImportOptions options, StoreWriter& store,
                          const std::function<void(double)>& fraction) {
  if (options.root.empty()) options.root = std::filesystem::path(path).parent_path().string();
  JsonLines lines(path);
  bool any = false;
  const auto next = [&] {
    std::optional<ImportRow> row = lines.next();
    any |= row.has_value();
    if (fraction) fraction(lines.fraction());
    return row;
  };
  ImportReport report = import_rows(next, options, store);
  if (!any) throw DataError(path + ": the list is empty; one line must be one image");
  lines.warn_of_ignored(report.warnings);
  return report;
}

}  // namespace muster
