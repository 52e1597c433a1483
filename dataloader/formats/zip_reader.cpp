#include "dataloader/formats/zip_reader.h"

#include <zip.h>

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

// Names as they were written, not guessed into UTF-8.
constexpr zip_flags_t kRawNames = ZIP_FL_ENC_RAW;

}  // namespace

void ZipReader::Close::operator()(zip* archive) const {
  zip_discard(archive);
}

ZipReader::ZipReader(const std::string& path) : path_(path) {
  const uint64_t file_bytes = InputFile(path).size();  // says so if there is no regular file
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
    const bool stored = (status.valid & kNeeded) == kNeeded && status.comp_method == ZIP_CM_STORE &&
                        status.encryption_method == ZIP_EM_NONE && status.size <= file_bytes;
    if (!stored) continue;
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
