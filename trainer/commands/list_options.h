// The options that say how a list of images is read, shared by muster import and muster doctor.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "dataloader/importers/csv.h"

namespace CLI {
class App;
}

namespace muster {

class ListOptions {
 public:
  // Each adds its flags to `command`; this object must outlive it. `otherwise`: where images are without --root.
  void add_root(CLI::App& command, const std::string& otherwise);
  void add_split(CLI::App& command);
  void add_table(CLI::App& command);

  const std::string& root() const { return root_; }
  // ConfigError: unknown split; no delimiter.
  RowDefaults defaults() const;
  CsvOptions table() const;

  // What was given, as flags and values in the order of --help; --no-quotes has no value.
  enum class Part { kRoot, kSplit, kTable };
  std::vector<std::pair<std::string, std::string>> given(Part part) const;

 private:
  std::string root_, split_ = "train", delimiter_;
  CsvOptions csv_;
  bool no_quotes_ = false;
};

}  // namespace muster
