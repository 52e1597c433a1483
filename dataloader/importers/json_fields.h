// Fields of the JSON objects in lists of images. Functions throw DataErrors that name the field.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "dataloader/store.h"

namespace muster {

// A field that is not there and one that is null are the same: nullptr.
const nlohmann::json* json_field(const nlohmann::json& object, const char* name);

std::string json_text(const nlohmann::json& value, const std::string& name);
// A list of captions; none may be blank, the list may be empty.
std::vector<std::string> json_captions(const nlohmann::json& value, const std::string& name);
// An integer, or a string that is not empty.
std::string json_identity(const nlohmann::json& value, const std::string& name);
Split json_split(const nlohmann::json& value);

}  // namespace muster
