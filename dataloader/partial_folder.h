// A folder that appears under its name only when it is complete.
#pragma once

#include <set>
#include <string>

namespace muster {

// PATH.partial, where PATH may end in slashes.
std::string partial_path(const std::string& path);

// Owns PATH.partial from construction until publish() renames it to PATH; destroyed before that, it removes it. A
// partial folder left by a killed process is used again. Two processes cannot write one PATH: the folder is locked.
class PartialFolder {
 public:
  // Whether what a killed process left in the folder is removed or taken over.
  enum class Leftovers { kRemove, kKeep };

  // DataError: PATH exists and is not an empty folder; another process is writing it; PATH.partial holds files that are
  // not ours (see is_ours in the source); it cannot be created.
  explicit PartialFolder(const std::string& path, Leftovers leftovers = Leftovers::kRemove);
  ~PartialFolder();
  PartialFolder(const PartialFolder&) = delete;
  PartialFolder& operator=(const PartialFolder&) = delete;

  // Where to write: PATH.partial.
  const std::string& folder() const { return folder_; }
  // Removes all files but these.
  void keep_only(const std::set<std::string>& names);
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
