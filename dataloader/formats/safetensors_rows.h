// safetensors files that are larger than anybody wants in memory: read and written by rows (of the first dimension).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "dataloader/formats/file.h"
#include "dataloader/formats/safetensors.h"
#include "dataloader/formats/safetensors_header.h"

namespace muster {

struct TensorShape {
  std::string name;
  at::ScalarType type{};
  std::vector<int64_t> sizes;
};

// Open for reading. Any number of threads.
class SafetensorsFile {
 public:
  // Reads and checks the header. DataError as read_safetensors().
  explicit SafetensorsFile(const std::string& path);

  const std::string& path() const { return file_.path(); }
  // In file order.
  std::vector<TensorShape> tensors() const;
  bool has(const std::string& name) const;
  // DataErrors below: no such tensor (naming those that are there), rows beyond it.
  const std::vector<int64_t>& sizes(const std::string& name) const;
  at::Tensor read(const std::string& name) const;
  at::Tensor read_rows(const std::string& name, int64_t first, int64_t count) const;

 private:
  const TensorEntry& find(const std::string& name) const;

  InputFile file_;
  uint64_t data_begin_ = 0;
  std::vector<TensorEntry> entries_;
};

// A file of these tensors in its full size, all bytes zero: whoever has rows writes them into it, processes at once if
// their rows differ. DataError: cannot be made.
void create_safetensors(const std::string& path, const std::vector<TensorShape>& tensors);

// Writes rows [first, first + n) of each tensor, and fsyncs. DataError: no such tensor, another dtype or row size, rows
// beyond it; disk full.
void write_safetensors_rows(const std::string& path, int64_t first, const NamedTensors& rows);

}  // namespace muster
