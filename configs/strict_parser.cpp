#include "configs/strict_parser.h"

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/text_format.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <utility>

#include "configs/field_names.h"
#include "configs/number_words.h"

namespace muster {
namespace {

namespace pb = google::protobuf;

constexpr int kMaxDepth = 32;

// Of all passes over the text, by place.
class Problems : public pb::io::ErrorCollector {
 public:
  void AddError(int line, pb::io::ColumnNumber column, const std::string& message) override {
    found_.emplace(std::pair(line, column), message);
  }
  // With unknown fields allowed, each is a warning, and parsing goes on.
  void AddWarning(int line, pb::io::ColumnNumber column, const std::string& message) override {
    AddError(line, column, message);
  }

  void merge(const Problems& other) { found_.insert(other.found_.begin(), other.found_.end()); }
  const std::map<std::pair<int, int>, std::string>& found() const { return found_; }

 private:
  std::map<std::pair<int, int>, std::string> found_;
};

std::string between(const std::string& text, const std::string& before, const std::string& after) {
  const size_t begin = text.find(before);
  const size_t end = begin == std::string::npos ? begin : text.find(after, begin + before.size());
  return end == std::string::npos ? "" : text.substr(begin + before.size(), end - begin - before.size());
}

const pb::FieldDescriptor* find_field(const pb::Descriptor& message, const std::string& name) {
  if (const pb::FieldDescriptor* field = message.FindFieldByName(name)) return field;
  for (int i = 0; i < message.field_count(); ++i) {
    if (message.field(i)->cpp_type() != pb::FieldDescriptor::CPPTYPE_MESSAGE) continue;
    if (const auto* field = find_field(*message.field(i)->message_type(), name)) return field;
  }
  return nullptr;
}

// The innermost message that is open at a place of the text, as far as its fields are known.
const pb::Descriptor& message_at(const std::string& text, int line, int column, const pb::Descriptor& root) {
  std::vector<const pb::Descriptor*> open = {&root};
  std::string word;
  for (size_t i = 0; i < text.size() && (line > 0 || column > 0); ++i) {
    const char c = text[i];
    const size_t begin = i;
    if (c == '#') i = std::min(text.find('\n', i), text.size()) - 1;
    if (c == '"' || c == '\'') {
      for (++i; i < text.size() && text[i] != c && text[i] != '\n'; ++i) i += text[i] == '\\' ? 1 : 0;
    }
    if (c == '}' && open.size() > 1) open.pop_back();
    if (c == '{') {
      const pb::FieldDescriptor* field = open.back()->FindFieldByName(word);
      const pb::Descriptor* inner = field == nullptr ? nullptr : field->message_type();
      open.push_back(inner == nullptr ? open.back() : inner);
    }
    if (std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_') {
      const bool goes_on = i > 0 && (std::isalnum(static_cast<unsigned char>(text[i - 1])) != 0 || text[i - 1] == '_');
      word = goes_on ? word + c : std::string(1, c);
    }
    if (c == '\n') --line;
    if (line == 0 && c != '\n') column -= static_cast<int>(std::min(i, text.size() - 1) - begin) + 1;
  }
  return *open.back();
}

// Where the unknown word begins; protobuf names the place behind it.
int column_of(const std::string& text, int line, int column, const std::string& message) {
  const std::string word = between(message, "has no field named \"", "\"");
  size_t begin = 0;
  for (int i = 0; i < line && begin != std::string::npos; ++i) begin = text.find('\n', begin) + 1;
  const size_t at = word.empty() ? std::string::npos : text.rfind(word, begin + static_cast<size_t>(column));
  return at == std::string::npos || at < begin ? column : static_cast<int>(at - begin);
}

}  // namespace

std::string explain_parse_error(const std::string& message, const pb::Descriptor& root) {
  return explain_parse_error(message, root, root);
}

std::string explain_parse_error(const std::string& message, const pb::Descriptor& root, const pb::Descriptor& place) {
  const std::string unknown = between(message, "has no field named \"", "\"");
  const std::string type = between(message, "Message type \"", "\"");
  const pb::Descriptor* const parent = root.file()->pool()->FindMessageTypeByName(type);
  if (!unknown.empty() && parent != nullptr) return describe_unknown_field(unknown, *parent, root);
  const std::string twice = between(message, "Non-repeated field \"", "\" is specified multiple times");
  if (!twice.empty()) return fmt::format("\"{}\" is given twice; keep one", twice);
  const std::string value = between(message, "Unknown enumeration value of \"", "\"");
  const std::string field_name = between(message, "for field \"", "\"");
  const pb::FieldDescriptor* const here = place.FindFieldByName(field_name);
  const pb::FieldDescriptor* const field = here != nullptr ? here : find_field(root, field_name);
  if (!value.empty() && field != nullptr) {
    return fmt::format("\"{}\" is no value of {}: give {}", value, field_name, describe_type(*field));
  }
  const std::string other = between(message, "is specified along with field \"", "\"");
  if (!other.empty()) {
    return fmt::format("\"{}\" is given beside \"{}\"; keep one of the two", between(message, "Field \"", "\""), other);
  }
  const std::string no_number = between(message + "\n", "Expected integer, got: ", "\n");
  const std::string word = same_letters(no_number);
  if (!word.empty()) return fmt::format("\"{}\" is no number: write {}", no_number, word);
  if (message == "Expected identifier, got: ") return "the text ends too early: a closing brace is missing";
  return message;
}

std::vector<std::string> parse_strictly(const std::string& text, const std::string& name, pb::Message& message) {
  // Protobuf stops at a field given twice; a lenient pass goes past it, to find the unknown fields behind.
  pb::TextFormat::Parser parser;
  parser.AllowUnknownField(true);
  parser.SetRecursionLimit(kMaxDepth);
  Problems strict, lenient;
  parser.RecordErrorsTo(&lenient);
  message.Clear();
  pb::io::ArrayInputStream lenient_input(text.data(), static_cast<int>(text.size()));
  parser.Merge(&lenient_input, &message);
  parser.RecordErrorsTo(&strict);
  pb::io::ArrayInputStream strict_input(text.data(), static_cast<int>(text.size()));
  const bool parsed = parser.Parse(&strict_input, &message);
  strict.merge(lenient);

  std::vector<std::string> problems;
  for (const auto& [place, what] : strict.found()) {
    const auto [line, column] = place;
    if (line < 0) {
      problems.push_back(fmt::format("{}: {}", name, explain_parse_error(what, *message.GetDescriptor())));
      continue;
    }
    problems.push_back(fmt::format(
        "{}:{}:{}: {}", name, line + 1, column_of(text, line, column, what) + 1,
        explain_parse_error(what, *message.GetDescriptor(), message_at(text, line, column, *message.GetDescriptor()))));
  }
  if (!parsed && problems.empty()) problems.push_back(name + ": cannot be parsed as text format");
  return problems;
}

}  // namespace muster
