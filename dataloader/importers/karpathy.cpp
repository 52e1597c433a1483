#include "dataloader/importers/karpathy.h"

#include <filesystem>
#include <utility>

#include "dataloader/formats/json.h"
#include "dataloader/formats/json_items.h"
#include "dataloader/importers/json_fields.h"
#include "launch/error.h"

namespace muster {
namespace {

using nlohmann::json;

const json& need(const json& entry, const char* name) {
  const json* value = json_field(entry, name);
  if (value == nullptr) throw DataError(std::string("the field ") + name + " is missing");
  return *value;
}

Split split_of(const json& value) {
  return json_text(value, "split") == "restval" ? Split::kTrain : json_split(value);
}

void parse(const json& entry, RegionIds ids, int64_t place, ImportRow& row) {
  if (!entry.is_object()) throw DataError("an entry must be a JSON object, not " + json_type_name(entry));
  const std::filesystem::path name = json_text(need(entry, "filename"), "filename");
  const json* folder = json_field(entry, "filepath");
  row.image = (folder == nullptr ? name : json_text(*folder, "filepath") / name).string();
  row.identity = row.image;
  row.split = split_of(need(entry, "split"));
  const json& sentences = need(entry, "sentences");
  if (!sentences.is_array()) throw DataError("sentences must be a list, not " + json_type_name(sentences));
  json captions = json::array();
  for (const json& sentence : sentences) {
    if (!sentence.is_object()) throw DataError("each sentence must be a JSON object, not " + json_type_name(sentence));
    captions.push_back(need(sentence, "raw"));
  }
  row.captions = json_captions(captions, "raw");
  if (row.captions.empty()) throw DataError("the image has no caption; leave it out");
  const json* coco = json_field(entry, "cocoid");
  if (coco != nullptr) {
    row.region_item = json_identity(*coco, "cocoid");
  } else {
    row.region_item = ids == RegionIds::kNumber ? std::to_string(place) : name.stem().string();
  }
  if (row.region_item.find('/') != std::string::npos) throw DataError("cocoid must not hold a slash");
}

}  // namespace

ImportList read_karpathy(const std::string& path, RegionIds ids) {
  ImportList list;
  list.source = path;
  JsonItems items(path, "images");
  for (int64_t place = 0; items.next(); ++place) {
    ImportRow row;
    row.where = items.where();
    try {
      parse(items.item(), ids, place, row);
    } catch (const DataError& error) {
      row.refusal = error.what();
    }
    list.rows.push_back(std::move(row));
  }
  return list;
}

}  // namespace muster
