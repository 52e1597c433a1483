// TensorBoard's event file: TFRecords of Event messages (tensorflow/core/util/event.proto), written without TensorFlow.
//
// A record is: length (8 bytes), masked CRC32C of the length, the message, masked CRC32C of the message; little-endian.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "trainer/report/append_file.h"

namespace muster {

class TensorboardWriter {
 public:
  // Starts a new event file in `folder` (made if missing), named to sort after those that are there. TensorBoard then
  // drops what older files of the folder say about `first_step` and later ones.
  TensorboardWriter(const std::string& folder, int64_t first_step);

  void scalars(int64_t step, const std::vector<std::pair<std::string, double>>& values);
  void sync() { file_.sync(); }

 private:
  void write_event(const std::string& message);

  AppendFile file_;
};

// CRC-32C (Castagnoli), reflected: RFC 3720, appendix B.4.
uint32_t crc32c(const void* data, size_t size);

}  // namespace muster
