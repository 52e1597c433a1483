// Words that a number field takes, as train.chunk takes AUTO. Protobuf's text format has words for enums alone: here
// they are turned into the numbers that the fields' .proto files state for them before a text is read, and back when it
// is written.
#pragma once

#include <google/protobuf/descriptor.h>
#include <google/protobuf/text_format.h>

#include <string>

namespace muster {

// A config's text with each such word replaced by its number; lines and columns stay what they were.
std::string words_to_numbers(const std::string& text);

// The value of one field: its number if it is such a word, else the value itself.
std::string word_to_number(const google::protobuf::FieldDescriptor& field, const std::string& value);

// " or AUTO", of a field that takes words; "" of others.
std::string or_words(const google::protobuf::FieldDescriptor& field);

// The word that differs from `text` in capitals alone; "" if there is none.
std::string same_letters(const std::string& text);

// Lets the printer write words.
void print_words(google::protobuf::TextFormat::Printer& printer);

}  // namespace muster
