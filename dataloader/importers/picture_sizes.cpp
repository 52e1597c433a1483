#include "dataloader/importers/picture_sizes.h"

#include <fmt/format.h>

#include "dataloader/formats/json.h"
#include "dataloader/formats/json_items.h"
#include "dataloader/importers/json_fields.h"
#include "launch/error.h"

namespace muster {

PictureSizes read_picture_sizes(const std::vector<std::string>& files) {
  using nlohmann::json;
  PictureSizes sizes;
  for (const std::string& file : files) {
    JsonItems items(file, "images");
    while (items.next()) {
      try {
        const json image = items.item();
        const auto number = [&](const char* name) {
          const json* value = image.is_object() ? json_field(image, name) : nullptr;
          const bool good = value != nullptr && value->is_number_integer() && *value > 0 && *value <= INT32_MAX;
          if (!good) throw DataError(fmt::format("{} must be a whole number above 0", name));
          return value->get<int32_t>();
        };
        const json* id = image.is_object() ? json_field(image, "id") : nullptr;
        if (id == nullptr) throw DataError("the field id is missing");
        sizes[json_identity(*id, "id")] = {number("width"), number("height")};
      } catch (const DataError& error) {
        throw DataError(items.where() + ": " + error.what());
      }
    }
  }
  return sizes;
}

}  // namespace muster
