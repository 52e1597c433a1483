#include "dataloader/formats/zip_reader.h"

#include <zip.h>

#include <algorithm>
#include <cstring>

#include "dataloader/formats/file.h"
#include "launch/error.h"

namespace muster {
namespace {

std::string reason_of(int code) {
  zip_error_t error;
  zip_error_init_with_code(&error, code);
  std::string reason = zip_error_strerror(&error);
  zip_error_fini(&error);
  return reason;
}

struct CloseEntry {
  void operator()(zip_file_t* entry) const { zip_fclose(entry); }
};

// libzip takes some six times a directory's bytes.
constexpr uint64_t kMaxDirectoryBytes = 8 << 20;
constexpr uint64_t kMostDeflated = 1032;  // bytes that a byte of deflate can stand for

uint64_t number_at(const std::string& bytes, size_t at, size_t size) {
  uint64_t value = 0;
  for (size_t i = 0; i < size; ++i) value |= uint64_t{static_cast<uint8_t>(bytes[at + i])} << (8 * i);
  return value;
}

// The bytes of the archive's directory as its end records say (APPNOTE.TXT 4.3.14 to 4.3.16), the most of all that
// might be one; 0 if there is none.
uint64_t directory_bytes(const InputFile& file) {
  constexpr size_t kEnd = 22, kLocator = 20, kEnd64 = 56, kMostComment = 65535;
  std::string tail(std::min<uint64_t>(file.size(), kEnd + kMostComment + kLocator), '\0');
  file.read(tail.data(), tail.size(), file.size() - tail.size());
  uint64_t most = 0;
  for (size_t at = tail.find("PK\5\6"); at != std::string::npos; at = tail.find("PK\5\6", at + 1)) {
    if (tail.size() - at < kEnd) break;
    uint64_t bytes = number_at(tail, at + 12, 4);
    if (at >= kLocator && tail.compare(at - kLocator, 4, "PK\6\7") == 0) {
      const uint64_t end64 = number_at(tail, at - kLocator + 8, 8);
      std::string record(kEnd64, '\0');
      if (file.size() >= kEnd64 && end64 <= file.size() - kEnd64) {
        file.read(record.data(), record.size(), end64);
        bytes = bytes == UINT32_MAX ? number_at(record, 40, 8) : std::max(bytes, number_at(record, 40, 8));
      }
    }
    most = std::max(most, bytes);
  }
  return most;
}

// Names as they were written, not guessed into UTF-8.
constexpr zip_flags_t kRawNames = ZIP_FL_ENC_RAW;

}  // namespace

void ZipReader::Close::operator()(zip* archive) const {
  zip_discard(archive);
}

ZipReader::ZipReader(const std::string& path, Entries taken) : path_(path) {
  const InputFile file(path);  // says so if there is no regular file
  const uint64_t file_bytes = file.size(), directory = directory_bytes(file);
  if (directory > kMaxDirectoryBytes && directory <= file_bytes) {
    throw DataError(path + ": its zip directory has " + std::to_string(directory) + " bytes, more than the " +
                    std::to_string(kMaxDirectoryBytes) + " that Muster takes");
  }
  int error = 0;
  archive_.reset(zip_open(path.c_str(), ZIP_RDONLY | ZIP_CHECKCONS, &error));
  if (archive_ == nullptr) {
    throw DataError(path + ": not a whole zip archive (" + reason_of(error) + "); it is truncated or damaged");
  }
  const zip_int64_t count = zip_get_num_entries(archive_.get(), 0);
  for (zip_int64_t i = 0; i < count; ++i) {
    zip_stat_t status;
    if (zip_stat_index(archive_.get(), static_cast<zip_uint64_t>(i), kRawNames, &status) != 0) {
      damaged("entry " + std::to_string(i), zip_strerror(archive_.get()));
    }
    constexpr zip_uint64_t kNeeded = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD;
    const bool plain = (status.valid & kNeeded) == kNeeded && status.encryption_method == ZIP_EM_NONE;
    const bool stored = status.comp_method == ZIP_CM_STORE && status.size <= file_bytes;
    const bool deflated = taken == Entries::kDeflatedToo && status.comp_method == ZIP_CM_DEFLATE &&
                          status.size / kMostDeflated <= file_bytes;
    if (!plain || (!stored && !deflated)) continue;
    places_.try_emplace(status.name, entries_.size());
    entries_.push_back({status.name, static_cast<uint64_t>(i), status.size});
  }
}

const ZipReader::Entry* ZipReader::find(const std::string& name) const {
  const auto place = places_.find(name);
  return place == places_.end() ? nullptr : &entries_[place->second];
}

void ZipReader::damaged(const std::string& name, const std::string& reason) const {
  throw DataError(path_ + ": " + name + " cannot be read (" + reason + "); the file is damaged");
}

void ZipReader::read(const Entry& entry, void* to) const {
  const std::unique_ptr<zip_file_t, CloseEntry> file(zip_fopen_index(archive_.get(), entry.index, 0));
  if (file == nullptr) damaged(entry.name, zip_strerror(archive_.get()));
  uint64_t done = 0;
  while (done < entry.bytes) {
    const zip_int64_t count = zip_fread(file.get(), static_cast<char*>(to) + done, entry.bytes - done);
    if (count < 0) damaged(entry.name, zip_file_strerror(file.get()));
    if (count == 0) damaged(entry.name, "it ends too early");
    done += static_cast<uint64_t>(count);
  }
  // The checksum is compared where the entry ends, which libzip sees only when it is asked for more.
  char behind = 0;
  const zip_int64_t more = zip_fread(file.get(), &behind, 1);
  if (more < 0) damaged(entry.name, zip_file_strerror(file.get()));
  if (more > 0) damaged(entry.name, "it is longer than its directory says");
}

std::string ZipReader::read(const Entry& entry, uint64_t max_bytes) const {
  if (entry.bytes > max_bytes) {
    throw DataError(path_ + ": " + entry.name + " has " + std::to_string(entry.bytes) + " bytes, more than the " +
                    std::to_string(max_bytes) + " that Muster takes of it");
  }
  std::string bytes(entry.bytes, '\0');
  read(entry, bytes.data());
  return bytes;
}

bool is_zip(const std::string& path) {
  const InputFile file(path);
  char start[4] = {};
  if (file.size() < sizeof start) return false;
  file.read(start, sizeof start, 0);
  return std::memcmp(start, "PK\3\4", sizeof start) == 0;
}

}  // namespace muster
