// Entries of a zip archive, those stored as they are (what PyTorch writes) or deflated ones too (NumPy's .npz). Read by
// libzip.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

struct zip;

namespace muster {

// For one thread. Nothing is unpacked to disk, and no entry's name is ever used as a path.
class ZipReader {
 public:
  // DataError: cannot be read, is no zip archive, its directory is damaged or larger than 8 MiB, a name twice.
  enum class Entries { kStored, kDeflatedToo };
  explicit ZipReader(const std::string& path, Entries taken = Entries::kStored);

  struct Entry {
    std::string name;    // any bytes
    uint64_t index = 0;  // in the archive
    uint64_t bytes = 0;  // at most the archive's own; deflated, what deflate can make of those
  };
  const std::string& path() const { return path_; }
  // In the archive's order. Other compressed entries, folders and entries that claim more bytes than the archive has
  // are not among them.
  const std::vector<Entry>& entries() const { return entries_; }
  // Null if no stored entry has that name.
  const Entry* find(const std::string& name) const;

  // All of an entry's bytes, inflated, into memory of that size. DataError: truncated, or its checksum (CRC-32) is
  // wrong.
  void read(const Entry& entry, void* to) const;
  // The same as a string. DataError: more than max_bytes, before memory is taken.
  std::string read(const Entry& entry, uint64_t max_bytes) const;

 private:
  struct Close {
    void operator()(zip* archive) const;
  };
  [[noreturn]] void damaged(const std::string& name, const std::string& reason) const;

  std::string path_;
  std::unique_ptr<zip, Close> archive_;
  std::vector<Entry> entries_;
  std::unordered_map<std::string, size_t> places_;  // in entries_
};

// Whether the file begins as a zip archive does.
bool is_zip(const std::string& path);

}  // namespace muster
