#include "configs/number_words.h"

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "trainer/chunk_search.h"
#include "trainer/trainer.pb.h"

namespace muster {
namespace {

namespace pb = google::protobuf;

struct Word {
  const pb::FieldDescriptor* field;
  std::string word;
  int64_t number;  // not longer than the word
};

std::vector<Word> all_words() {
  return {{TrainConfig::descriptor()->FindFieldByName("chunk"), "AUTO", kAutoChunk}};
}

class WordPrinter : public pb::TextFormat::FastFieldValuePrinter {
 public:
  explicit WordPrinter(Word word) : word_(std::move(word)) {}
  void PrintInt64(int64_t value, pb::TextFormat::BaseTextGenerator* out) const override {
    if (value == word_.number) return out->PrintString(word_.word);
    FastFieldValuePrinter::PrintInt64(value, out);
  }

 private:
  Word word_;
};

bool in_name(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

// The place behind the comment, text or name that begins at `begin`; at least the next one.
size_t end_of_token(const std::string& text, size_t begin) {
  const char first = text[begin];
  if (first == '#') return std::min(text.find('\n', begin), text.size());
  size_t end = begin + 1;
  if (first == '"' || first == '\'') {
    while (end < text.size() && text[end] != first && text[end] != '\n') end += text[end] == '\\' ? 2 : 1;
    return std::min(end + 1, text.size());
  }
  while (in_name(first) && end < text.size() && in_name(text[end])) ++end;
  return end;
}

}  // namespace

std::string words_to_numbers(const std::string& text) {
  std::string replaced = text, name;
  bool after_colon = false;
  for (size_t begin = 0, end = 0; begin < text.size(); begin = end) {
    end = end_of_token(text, begin);
    if (std::isspace(static_cast<unsigned char>(text[begin])) != 0 || text[begin] == '#') continue;
    const std::string token = text.substr(begin, end - begin);
    for (const Word& word : all_words()) {
      if (!after_colon || name != word.field->name() || token != word.word) continue;
      std::string number = std::to_string(word.number);
      number.resize(token.size(), ' ');
      replaced.replace(begin, token.size(), number);
    }
    after_colon = token == ":";
    if (!after_colon) name = token;
  }
  return replaced;
}

std::string word_to_number(const pb::FieldDescriptor& field, const std::string& value) {
  for (const Word& word : all_words()) {
    if (&field == word.field && value == word.word) return std::to_string(word.number);
  }
  return value;
}

std::string or_words(const pb::FieldDescriptor& field) {
  std::string words;
  for (const Word& word : all_words()) {
    if (&field == word.field) words += " or " + word.word;
  }
  return words;
}

std::string same_letters(const std::string& text) {
  const auto same = [](unsigned char a, unsigned char b) { return std::toupper(a) == std::toupper(b); };
  for (const Word& word : all_words()) {
    if (std::equal(text.begin(), text.end(), word.word.begin(), word.word.end(), same)) return word.word;
  }
  return "";
}

void print_words(pb::TextFormat::Printer& printer) {
  for (const Word& word : all_words()) {
    auto words = std::make_unique<WordPrinter>(word);
    if (printer.RegisterFieldValuePrinter(word.field, words.get())) words.release();
  }
}

}  // namespace muster
