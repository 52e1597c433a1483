#include "configs/describe.h"

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

#include <algorithm>
#include <sstream>
#include <stdexcept>
#include <vector>

#include "configs/field_names.h"
#include "configs/run_descriptor.h"
#include "launch/error.h"

namespace muster {
namespace {

namespace pb = google::protobuf;
using pb::FieldDescriptor;

constexpr size_t kWidth = 100;  // of a printed line

// The embedded descriptors in a pool of their own: the one of the generated code has no comments.
class Descriptors {
 public:
  Descriptors() {
    pb::FileDescriptorSet files;
    if (!files.ParseFromArray(kRunDescriptor, static_cast<int>(kRunDescriptorBytes))) {
      throw std::logic_error("the embedded descriptors cannot be read");
    }
    for (const pb::FileDescriptorProto& file : files.file()) pool_.BuildFile(file);
  }
  const pb::Descriptor& root() const { return *pool_.FindMessageTypeByName("muster.RunConfig"); }

 private:
  pb::DescriptorPool pool_;
};

// The comment above it, else the one behind it; as one line.
template <typename Descriptor>
std::string comment_of(const Descriptor& descriptor) {
  pb::SourceLocation location;
  if (!descriptor.GetSourceLocation(&location)) return "";
  std::istringstream words(location.leading_comments.empty() ? location.trailing_comments : location.leading_comments);
  std::string text;
  for (std::string word; words >> word;) text += (text.empty() ? "" : " ") + word;
  return text;
}

// The field on the line above: lines that stand together share the first one's comment.
const FieldDescriptor* field_above(const FieldDescriptor& field) {
  if (field.index() == 0) return nullptr;
  const FieldDescriptor& other = *field.containing_type()->field(field.index() - 1);
  pb::SourceLocation here, there;
  const bool known = field.GetSourceLocation(&here) && other.GetSourceLocation(&there);
  return known && there.end_line + 1 == here.start_line ? &other : nullptr;
}

// Its own comment, that of the message or enum it holds, or the one it shares.
std::string meaning_of(const FieldDescriptor& field) {
  std::string meaning = comment_of(field);
  if (meaning.empty() && field.message_type() != nullptr) meaning = comment_of(*field.message_type());
  if (meaning.empty() && field.enum_type() != nullptr) meaning = comment_of(*field.enum_type());
  if (!meaning.empty()) return meaning;
  const FieldDescriptor* above = field_above(field);
  return above == nullptr ? "" : meaning_of(*above);
}

std::string type_of(const FieldDescriptor& field) {
  const bool message = field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
  const bool choice = field.cpp_type() == FieldDescriptor::CPPTYPE_ENUM;
  const std::string type = message  ? field.message_type()->name() + " { }"
                           : choice ? field.enum_type()->name()
                                    : std::string(field.type_name());
  return field.is_repeated() ? "list of " + type : type;
}

std::string default_of(const FieldDescriptor& field) {
  if (!field.has_default_value()) return "";
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return fmt::to_string(field.default_value_int32());
    case FieldDescriptor::CPPTYPE_INT64:
      return fmt::to_string(field.default_value_int64());
    case FieldDescriptor::CPPTYPE_UINT32:
      return fmt::to_string(field.default_value_uint32());
    case FieldDescriptor::CPPTYPE_UINT64:
      return fmt::to_string(field.default_value_uint64());
    case FieldDescriptor::CPPTYPE_FLOAT:
      return fmt::format("{:g}", field.default_value_float());
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return fmt::format("{}", field.default_value_double());
    case FieldDescriptor::CPPTYPE_BOOL:
      return field.default_value_bool() ? "true" : "false";
    case FieldDescriptor::CPPTYPE_STRING:
      return fmt::format("\"{}\"", field.default_value_string());
    case FieldDescriptor::CPPTYPE_ENUM:
      return field.default_value_enum()->name();
    case FieldDescriptor::CPPTYPE_MESSAGE:
      break;
  }
  return "";
}

std::string wrapped(const std::string& text, const std::string& indent) {
  std::istringstream words(text);
  std::string lines, line = indent;
  for (std::string word; words >> word;) {
    if (line.size() + 1 + word.size() > kWidth && line.size() > indent.size()) {
      lines += line + "\n";
      line = indent;
    }
    line += (line.size() > indent.size() ? " " : "") + word;
  }
  return line.size() > indent.size() ? lines + line + "\n" : lines;
}

std::string join_path(const std::string& path, const std::string& name) {
  return path.empty() ? name : path + "." + name;
}

// "rate  double  [0.0005]"
std::string headline(const std::string& name, const FieldDescriptor& field, size_t column) {
  const std::string value = default_of(field);
  return fmt::format("{:<{}}  {}{}\n", name, column, type_of(field), value.empty() ? "" : "  [" + value + "]");
}

std::string describe_values(const pb::EnumDescriptor& values, const std::string& indent) {
  std::string text;
  for (int i = 0; i < values.value_count(); ++i) {
    const std::string comment = comment_of(*values.value(i));
    text += indent + values.value(i)->name() + (comment.empty() ? "" : ": " + comment) + "\n";
  }
  return text;
}

std::string describe_one(const std::string& name, const FieldDescriptor& field, size_t column,
                         const std::string& indent) {
  std::string text = indent + headline(name, field, column) + wrapped(meaning_of(field), indent + "    ");
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_ENUM) text += describe_values(*field.enum_type(), indent + "    ");
  return text;
}

std::string describe_fields(const pb::Descriptor& message) {
  size_t column = 0;
  for (int i = 0; i < message.field_count(); ++i) column = std::max(column, message.field(i)->name().size());
  std::string text;
  const pb::OneofDescriptor* choice = nullptr;
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor& field = *message.field(i);
    if (field.real_containing_oneof() != choice) {
      choice = field.real_containing_oneof();
      if (choice != nullptr) text += fmt::format("  {}: one of\n", choice->name());
    }
    text += describe_one(field.name(), field, column, choice == nullptr ? "  " : "    ");
  }
  return text;
}

void list_fields(const pb::Descriptor& message, const std::string& path,
                 std::vector<std::pair<std::string, const FieldDescriptor*>>& fields) {
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor& field = *message.field(i);
    const std::string name = join_path(path, field.name()) + (field.is_repeated() ? "[]" : "");
    const bool nested = field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
    if (nested) list_fields(*field.message_type(), name, fields);
    if (!nested || field.message_type()->field_count() == 0) fields.emplace_back(name, &field);
  }
}

// "term[0]" -> "term"
std::string without_index(const std::string& part) {
  const size_t bracket = part.find('[');
  return bracket != std::string::npos && part.back() == ']' ? part.substr(0, bracket) : part;
}

}  // namespace

std::string describe_all_fields() {
  const Descriptors descriptors;
  std::vector<std::pair<std::string, const FieldDescriptor*>> fields;
  list_fields(descriptors.root(), "", fields);
  size_t column = 0;
  for (const auto& field : fields) column = std::max(column, field.first.size());
  std::string text;
  for (const auto& [name, field] : fields) text += headline(name, *field, column);
  return text + "\n[default]; what a field means: muster config FIELD, such as muster config train.schedule\n";
}

std::string describe_field(const std::string& path) {
  const Descriptors descriptors;
  const pb::Descriptor* message = &descriptors.root();
  const FieldDescriptor* field = nullptr;
  std::istringstream parts(path);
  std::string so_far;
  for (std::string part; std::getline(parts, part, '.');) {
    if (message == nullptr) throw ConfigError(fmt::format("{} has no fields; it is {}", so_far, describe_type(*field)));
    field = message->FindFieldByName(without_index(part));
    if (field == nullptr) throw ConfigError(describe_unknown_field(without_index(part), *message, descriptors.root()));
    message = field->message_type();
    so_far = join_path(so_far, part);
  }
  if (field == nullptr) throw ConfigError("no field is named; muster config lists them");
  const std::string head = describe_one(path, *field, path.size(), "");
  return message == nullptr ? head : head + "\n" + describe_fields(*message);
}

}  // namespace muster
