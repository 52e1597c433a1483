#include "dataloader/importers/json_fields.h"

#include "dataloader/formats/json.h"
#include "dataloader/importers/importer.h"
#include "launch/error.h"

namespace muster {

using nlohmann::json;

const json* json_field(const json& object, const char* name) {
  const auto found = object.find(name);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

std::string json_text(const json& value, const std::string& name) {
  if (!value.is_string()) throw DataError(name + " must be a string, not " + json_type_name(value));
  return value.get<std::string>();
}

std::vector<std::string> json_captions(const json& value, const std::string& name) {
  if (!value.is_array()) throw DataError(name + " must be a list of strings, not " + json_type_name(value));
  std::vector<std::string> captions;
  for (const json& caption : value) {
    captions.push_back(json_text(caption, "each caption"));
    if (const std::string refusal = caption_refusal(captions.back()); !refusal.empty()) throw DataError(refusal);
  }
  return captions;
}

std::string json_identity(const json& value, const std::string& name) {
  if (value.is_number_integer()) return value.dump();
  if (value.is_string() && !value.get_ref<const std::string&>().empty()) return value.get<std::string>();
  throw DataError(name + " must be a string that is not empty, or an integer");
}

Split json_split(const json& value) {
  try {
    return split_from_name(json_text(value, "split"));
  } catch (const ConfigError& error) {
    throw DataError(error.what());
  }
}

}  // namespace muster
