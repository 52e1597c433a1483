// A folder that appears under its name only when it is complete.
#pragma once

#include <string>

namespace muster {

// Owns PATH.partial from construction until publish() renames it to PATH; destroyed before that, it removes it. A
// partial folder left by a killed process is emptied and used. Two processes cannot write one PATH: the folder is
// locked.
class PartialFolder {
 public:
  // DataError: PATH exists and is not an empty folder; another process is writing it; PATH.partial holds files that are
  // not ours (see is_ours in the source); it cannot be created.
  explicit PartialFolder(const std::string& path);
  ~PartialFolder();
  PartialFolder(const PartialFolder&) = delete;
  PartialFolder& operator=(const PartialFolder&) = delete;

  // Where to write: PATH.partial.
  const std::string& folder() const { return folder_; }
  // fsyncs the folder, renames it to PATH and fsyncs the parent. The files in it must be on the disk already.
  void publish();
  // Removes the partial folder. Nothing if published.
  void discard() noexcept;

 private:
  std::string path_, folder_;
  int descriptor_ = -1;
  bool owned_ = false;
};

}  // namespace muster
