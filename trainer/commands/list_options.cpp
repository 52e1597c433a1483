#include "trainer/commands/list_options.h"

#include <CLI/CLI.hpp>

#include "launch/error.h"

namespace muster {

void ListOptions::add_root(CLI::App& command, const std::string& otherwise) {
  command.add_option("--root", root_, "Folder that the images' paths start from [" + otherwise + "]");
}

void ListOptions::add_split(CLI::App& command) {
  command.add_option("--split", split_, "train, val or test: of what names no split itself [train]");
}

void ListOptions::add_table(CLI::App& command) {
  command.add_option("--delimiter", delimiter_, "A character, or tab [a tab if the first line has one, else a comma]");
  command.add_flag("--no-quotes", no_quotes_, "Quotes are ordinary characters");
  command.add_option("--image-key", csv_.image_key, "Column of the images' paths [image, filepath, path, ...]");
  command.add_option("--caption-key", csv_.caption_key, "Column of the captions, or none [caption, title, text, ...]");
  command.add_option("--identity-key", csv_.identity_key,
                     "Column of the identities, or none [identity, id, label, ...]");
  command.add_option("--split-key", csv_.split_key, "Column of the splits, or none [split, ...]");
}

RowDefaults ListOptions::defaults() const {
  return {root_, split_from_name(split_)};
}

CsvOptions ListOptions::table() const {
  CsvOptions options = csv_;
  options.quoted = !no_quotes_;
  if (delimiter_ == "tab" || delimiter_ == "\\t") {
    options.delimiter = '\t';
  } else if (!delimiter_.empty()) {
    const bool good = delimiter_.size() == 1 && delimiter_ != "\"" && delimiter_ != "\n" && delimiter_ != "\r";
    if (!good) throw ConfigError("--delimiter " + delimiter_ + ": give one character, or tab");
    options.delimiter = delimiter_[0];
  }
  return options;
}

std::vector<std::pair<std::string, std::string>> ListOptions::given(Part part) const {
  std::vector<std::pair<std::string, std::string>> flags;
  const auto add = [&](const char* flag, const std::string& value) {
    if (!value.empty()) flags.emplace_back(flag, value);
  };
  if (part == Part::kRoot) add("--root", root_);
  if (part == Part::kSplit && split_ != "train") add("--split", split_);
  if (part != Part::kTable) return flags;
  add("--delimiter", delimiter_);
  if (no_quotes_) flags.emplace_back("--no-quotes", "");
  add("--image-key", csv_.image_key);
  add("--caption-key", csv_.caption_key);
  add("--identity-key", csv_.identity_key);
  add("--split-key", csv_.split_key);
  return flags;
}

}  // namespace muster
