// A data set as files that people can look at: images/*.jpg and manifest.jsonl, as `muster import jsonl` reads them.
#pragma once

#include <string>

#include "dataloader/store.h"

namespace muster::synth {

// The manifest appears last, in finish(); a folder without it is nothing to import, and the next writer takes it over.
class JsonlFolder {
 public:
  // DataError: PATH holds anything but the pictures of a writer that was stopped, or cannot be created.
  explicit JsonlFolder(const std::string& path);
  // Before finish(): removes what was written.
  ~JsonlFolder();
  JsonlFolder(const JsonlFolder&) = delete;
  JsonlFolder& operator=(const JsonlFolder&) = delete;

  void add(const StoreRecord& record);
  void finish();

 private:
  std::string path_;
  std::string lines_;
  bool existed_ = false, finished_ = false;
};

}  // namespace muster::synth
