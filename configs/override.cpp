#include "configs/override.h"

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include <charconv>
#include <memory>
#include <string>

#include "configs/field_names.h"
#include "configs/number_words.h"
#include "configs/strict_parser.h"
#include "launch/error.h"

namespace muster {
namespace {

namespace pb = google::protobuf;

// "term[0]": a field's name and, perhaps, an index.
struct Segment {
  std::string name;
  int index = -1;
};

Segment parse_segment(const std::string& text) {
  const size_t bracket = text.find('[');
  if (bracket == std::string::npos) return {text, -1};
  int index = -1;
  const char* const end = text.data() + text.size();
  const auto [rest, failure] = std::from_chars(text.data() + bracket + 1, end, index);
  if (failure != std::errc() || index < 0 || std::string(rest, end) != "]") {
    throw ConfigError(fmt::format("\"{}\" is no index; write {}[0]", text, text.substr(0, bracket)));
  }
  return {text.substr(0, bracket), index};
}

std::vector<std::string> split(const std::string& path) {
  std::vector<std::string> parts(1);
  for (const char c : path) {
    if (c == '.') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

class Override {
 public:
  Override(RunConfig& config, const std::string& text) : root_(*config.GetDescriptor()), text_(text) {
    const size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0) throw ConfigError("give PATH=VALUE, such as train.steps=300");
    value_ = text.substr(equals + 1);
    pb::Message* message = &config;
    const std::vector<std::string> parts = split(text.substr(0, equals));
    for (size_t i = 0; i < parts.size(); ++i) {
      const Segment segment = parse_segment(parts[i]);
      const pb::FieldDescriptor& field = find(*message, segment);
      path_ += (i == 0 ? "" : ".") + parts[i];
      if (i + 1 == parts.size()) {
        set(*message, field, segment.index);
      } else {
        message = descend(*message, field, segment.index);
      }
    }
  }

 private:
  const pb::FieldDescriptor& find(const pb::Message& message, const Segment& segment) const {
    const pb::FieldDescriptor* const field = message.GetDescriptor()->FindFieldByName(segment.name);
    if (field == nullptr) throw ConfigError(describe_unknown_field(segment.name, *message.GetDescriptor(), root_));
    if (segment.index >= 0 && !field->is_repeated()) {
      throw ConfigError(fmt::format("{} is no list; leave out [{}]", segment.name, segment.index));
    }
    check_oneof(message, *field);
    return *field;
  }

  // Setting sdm.epsilon of a term that is info_nce would silently turn it into another loss.
  void check_oneof(const pb::Message& message, const pb::FieldDescriptor& field) const {
    const pb::OneofDescriptor* const oneof = field.real_containing_oneof();
    if (oneof == nullptr) return;
    const pb::FieldDescriptor* const there = message.GetReflection()->GetOneofFieldDescriptor(message, oneof);
    if (there == nullptr || there == &field) return;
    throw ConfigError(fmt::format("{} is {}, not {}; to replace it, write {}='{{ {} {{ }} }}'", path_, there->name(),
                                  field.name(), path_, field.name()));
  }

  void check_index(const pb::Message& message, const pb::FieldDescriptor& field, int index) const {
    const int size = message.GetReflection()->FieldSize(message, &field);
    if (index > size) {
      throw ConfigError(
          fmt::format("{} is out of range: {} has {} elements, so [{}] adds one", path_, field.name(), size, size));
    }
  }

  pb::Message* descend(pb::Message& message, const pb::FieldDescriptor& field, int index) const {
    const pb::Reflection& reflection = *message.GetReflection();
    if (field.cpp_type() != pb::FieldDescriptor::CPPTYPE_MESSAGE) {
      throw ConfigError(fmt::format("{} has no fields; it is {}", path_, describe_type(field)));
    }
    if (!field.is_repeated()) return reflection.MutableMessage(&message, &field);
    if (index < 0) throw ConfigError(fmt::format("{} is a list; say which, as {}[0]", path_, path_));
    check_index(message, field, index);
    if (index == reflection.FieldSize(message, &field)) return reflection.AddMessage(&message, &field);
    return reflection.MutableRepeatedMessage(&message, &field, index);
  }

  void set(pb::Message& message, const pb::FieldDescriptor& field, int index) const {
    const pb::Reflection& reflection = *message.GetReflection();
    if (!field.is_repeated()) {
      reflection.ClearField(&message, &field);
      return parse_value(message, field, word_to_number(field, value_));
    }
    if (index < 0) return set_list(message, field);
    check_index(message, field, index);
    parse_value(message, field, value_);  // behind the others
    const int last = reflection.FieldSize(message, &field) - 1;
    if (index == last) return;
    reflection.SwapElements(&message, &field, index, last);
    reflection.RemoveLast(&message, &field);
  }

  void set_list(pb::Message& message, const pb::FieldDescriptor& field) const {
    if (value_.size() < 2 || value_.front() != '[' || value_.back() != ']') {
      throw ConfigError(fmt::format("{} is a list; give [..] or set {}[0]", path_, path_));
    }
    const std::unique_ptr<pb::Message> list(message.New());
    pb::TextFormat::Parser parser;
    First errors;
    parser.RecordErrorsTo(&errors);
    if (!parser.ParseFromString(field.name() + ": " + value_, list.get())) refuse(field, errors.message);
    message.GetReflection()->ClearField(&message, &field);
    message.MergeFrom(*list);
  }

  void parse_value(pb::Message& message, const pb::FieldDescriptor& field, const std::string& value) const {
    const bool bare_text = field.cpp_type() == pb::FieldDescriptor::CPPTYPE_STRING &&
                           (value.empty() || (value.front() != '"' && value.front() != '\''));
    if (bare_text && field.is_repeated()) return message.GetReflection()->AddString(&message, &field, value);
    if (bare_text) return message.GetReflection()->SetString(&message, &field, value);
    pb::TextFormat::Parser parser;
    First errors;
    parser.RecordErrorsTo(&errors);
    if (!parser.ParseFieldValueFromString(value, &field, &message)) refuse(field, errors.message);
  }

  [[noreturn]] void refuse(const pb::FieldDescriptor& field, const std::string& reason) const {
    const bool is_message = field.cpp_type() == pb::FieldDescriptor::CPPTYPE_MESSAGE;
    if (is_message && !reason.empty()) throw ConfigError(explain_parse_error(reason, root_));
    throw ConfigError(fmt::format("{} takes {}", field.name(), describe_type(field)));
  }

  struct First : pb::io::ErrorCollector {
    void AddError(int, pb::io::ColumnNumber, const std::string& what) override {
      if (message.empty()) message = what;
    }
    std::string message;
  };

  const pb::Descriptor& root_;
  const std::string& text_;
  std::string value_;
  std::string path_;
};

}  // namespace

std::vector<std::string> apply_overrides(const std::vector<std::string>& overrides, RunConfig& config) {
  std::vector<std::string> problems;
  for (const std::string& text : overrides) {
    try {
      const Override applied(config, text);
    } catch (const ConfigError& error) {
      problems.push_back(fmt::format("--set {}: {}", text, error.what()));
    }
  }
  return problems;
}

}  // namespace muster
