// The header of a safetensors file: where each tensor lies.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "dataloader/formats/file.h"
#include "dataloader/formats/hashes.h"

namespace muster {

// One tensor, found consistent in itself.
struct TensorEntry {
  std::string name;
  at::ScalarType type{};
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;  // within the data part
};

// In file order; the tensors lie end to end and fill the data part, which begins at byte `data_begin`. DataError as
// read_safetensors(). The bytes before the data are added to `hash` if one is given.
std::vector<TensorEntry> read_safetensors_header(const InputFile& file, uint64_t& data_begin,
                                                 StreamHash* hash = nullptr);

// Sets begin and end, and returns what stands before the data: length and header, the data aligned. `entries` are laid
// out by element size, widest first, else in the order given. DataError: a name twice, a dtype that cannot be written.
std::string lay_out_safetensors(std::vector<TensorEntry>& entries, const std::map<std::string, std::string>& metadata,
                                const std::string& path);

}  // namespace muster
