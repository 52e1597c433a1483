#include "configs/field_names.h"

#include <fmt/format.h>

#include "configs/number_words.h"
#include "trainer/near_miss.h"

namespace muster {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

struct Place {
  std::string path;
  const Descriptor* message;
};

// Every message below the root, the root first.
void list_places(const Descriptor& message, const std::string& path, std::vector<Place>& places) {
  places.push_back({path, &message});
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor& field = *message.field(i);
    if (field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
    list_places(*field.message_type(), path.empty() ? field.name() : path + "." + field.name(), places);
  }
}

std::vector<Place> places_below(const Descriptor& root) {
  std::vector<Place> places;
  list_places(root, "", places);
  return places;
}

std::vector<std::string> field_names(const Descriptor& message) {
  std::vector<std::string> names;
  for (int i = 0; i < message.field_count(); ++i) names.push_back(message.field(i)->name());
  return names;
}

}  // namespace

std::string path_of(const Descriptor& message, const Descriptor& root) {
  for (const Place& place : places_below(root)) {
    if (place.message == &message) return place.path;
  }
  return message.name();
}

std::string describe_unknown_field(const std::string& field, const Descriptor& message, const Descriptor& root) {
  const std::string path = path_of(message, root);
  std::string text = fmt::format("unknown field \"{}\"", field);
  if (!path.empty()) text += " in " + path;
  const std::vector<std::string> near = near_misses(field, field_names(message));
  if (!near.empty()) return text + did_you_mean(near);
  std::vector<std::string> elsewhere;
  for (const Place& place : places_below(root)) {
    if (place.message->FindFieldByName(field) == nullptr) continue;
    elsewhere.push_back(place.path.empty() ? field : place.path + "." + field);
  }
  if (!elsewhere.empty()) return fmt::format("{}: it belongs to {}", text, fmt::join(elsewhere, " or "));
  return fmt::format("{}: it has {}", text, fmt::join(field_names(message), ", "));
}

std::string describe_type(const FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
    case FieldDescriptor::CPPTYPE_INT64:
      return fmt::format("a whole number ({}){}", field.type_name(), or_words(field));
    case FieldDescriptor::CPPTYPE_UINT32:
    case FieldDescriptor::CPPTYPE_UINT64:
      return fmt::format("a whole number from 0 up ({})", field.type_name());
    case FieldDescriptor::CPPTYPE_FLOAT:
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return "a number";
    case FieldDescriptor::CPPTYPE_BOOL:
      return "true or false";
    case FieldDescriptor::CPPTYPE_STRING:
      return "a text";
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return "a message in braces: " + fmt::format("{}", fmt::join(field_names(*field.message_type()), ", "));
    case FieldDescriptor::CPPTYPE_ENUM: {
      std::vector<std::string> values;
      for (int i = 0; i < field.enum_type()->value_count(); ++i) values.push_back(field.enum_type()->value(i)->name());
      return fmt::format("one of {}", fmt::join(values, ", "));
    }
  }
  return field.type_name();
}

}  // namespace muster
