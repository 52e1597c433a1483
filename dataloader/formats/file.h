// Files by RAII. All functions throw DataError naming the path and the system's reason.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

namespace muster {

// A regular file open for reading. Any number of threads may read() one InputFile.
class InputFile {
 public:
  explicit InputFile(const std::string& path);
  ~InputFile();
  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&&) = delete;

  const std::string& path() const { return path_; }
  // Bytes when it was opened.
  uint64_t size() const { return size_; }
  // Exactly `size` bytes from `offset` (pread); a file that ends before that is an error.
  void read(void* to, size_t size, uint64_t offset) const;

 private:
  std::string path_;
  int descriptor_ = -1;
  uint64_t size_ = 0;
};

// A file open for writing: a new one (one that exists is emptied) unless an offset is given. For one thread.
class OutputFile {
 public:
  explicit OutputFile(const std::string& path);
  // Writes over a file that exists, from `offset` on.
  OutputFile(const std::string& path, uint64_t offset);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  const std::string& path() const { return path_; }
  // Bytes written through this object.
  uint64_t size() const { return size_; }
  void write(const void* data, size_t size);
  // fsync and close; the file is on the disk when it returns.
  void finish();

 private:
  std::string path_;
  int descriptor_ = -1;
  uint64_t size_ = 0;
};

// What lies at the path, links followed; false, and no error, where the system does not say.
bool is_file(const std::filesystem::path& path);
bool is_folder(const std::filesystem::path& path);

// "what path: the system's reason for the current errno".
[[noreturn]] void throw_system_error(const std::string& what, const std::string& path);

}  // namespace muster
