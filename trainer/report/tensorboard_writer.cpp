#include "trainer/report/tensorboard_writer.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "launch/error.h"

namespace muster {
namespace {

constexpr const char* kPrefix = "events.out.tfevents.";

// Little-endian, as every machine we build for.
template <typename Value>
std::string bytes_of(Value value) {
  std::string bytes(sizeof(value), '\0');
  std::memcpy(bytes.data(), &value, sizeof(value));
  return bytes;
}

std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
  bytes += static_cast<char>(value);
  return bytes;
}

// Protobuf's wire format: a key of field number and wire type, then the value.
enum WireType : uint64_t { kVarint = 0, kFixed64 = 1, kLengthDelimited = 2, kFixed32 = 5 };

std::string key(uint64_t field, WireType type) {
  return varint(field << 3 | type);
}

std::string text(uint64_t field, const std::string& value) {
  return key(field, kLengthDelimited) + varint(value.size()) + value;
}

// Event: wall_time = 1, step = 2.
std::string event(int64_t step) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return key(1, kFixed64) + bytes_of(std::chrono::duration<double>(now).count()) + key(2, kVarint) +
         varint(static_cast<uint64_t>(step));
}

uint32_t masked_crc(const std::string& bytes) {
  const uint32_t crc = crc32c(bytes.data(), bytes.size());
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8U;
}

// TensorBoard reads a folder's files in the order of their names, which start with a time in seconds.
std::string new_event_file(const std::string& folder) {
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  if (failed) throw DataError("cannot make folder " + folder + ": " + failed.message());
  long long seconds = std::time(nullptr);
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.rfind(kPrefix, 0) != 0) continue;
    seconds = std::max(seconds, std::atoll(name.c_str() + std::strlen(kPrefix)) + 1);
  }
  char host[256] = "localhost";
  if (gethostname(host, sizeof(host) - 1) != 0) std::strcpy(host, "localhost");
  return fmt::format("{}/{}{:010}.{}.{}", folder, kPrefix, seconds, host, getpid());
}

}  // namespace

uint32_t crc32c(const void* data, size_t size) {
  static const std::array<uint32_t, 256> table = [] {
    std::array<uint32_t, 256> made{};
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t entry = i;
      for (int bit = 0; bit < 8; ++bit) entry = (entry >> 1) ^ ((entry & 1) != 0 ? 0x82f63b78U : 0);
      made[i] = entry;
    }
    return made;
  }();
  uint32_t crc = 0xffffffffU;
  const auto* bytes = static_cast<const uint8_t*>(data);
  for (size_t i = 0; i < size; ++i) crc = (crc >> 8) ^ table[(crc ^ bytes[i]) & 0xff];
  return ~crc;
}

TensorboardWriter::TensorboardWriter(const std::string& folder, int64_t first_step) : file_(new_event_file(folder)) {
  write_event(event(0) + text(3, "brain.Event:2"));  // Event: file_version = 3
  // Event: session_log = 7; SessionLog: status = 1, START = 1.
  write_event(event(first_step) + text(7, key(1, kVarint) + varint(1)));
}

void TensorboardWriter::scalars(int64_t step, const std::vector<std::pair<std::string, double>>& values) {
  std::string summary;  // Summary: value = 1; Value: tag = 1, simple_value = 2
  for (const auto& [tag, value] : values) {
    summary += text(1, text(1, tag) + key(2, kFixed32) + bytes_of(static_cast<float>(value)));
  }
  write_event(event(step) + text(5, summary));  // Event: summary = 5
}

void TensorboardWriter::write_event(const std::string& message) {
  const std::string length = bytes_of(static_cast<uint64_t>(message.size()));
  file_.append(length + bytes_of(masked_crc(length)) + message + bytes_of(masked_crc(message)));
}

}  // namespace muster
