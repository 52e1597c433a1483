// safetensors files (github.com/huggingface/safetensors, format 0.x): 8 bytes little-endian header length, a JSON
// header, then the tensors' bytes. Python reads and writes them with one call; nothing in them is ever executed.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "dataloader/formats/atomic_file.h"

namespace muster {

// In file order. Dtypes: F64 F32 F16 BF16 I64 I32 I16 I8 U8 BOOL.
using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

// Writes through write_file_atomically() (see atomic_file.h) and fsyncs. Tensors are made contiguous on the CPU first,
// and are laid out by element size, widest first, else in the order given: so each is aligned, as Python's mmap wants.
// DataError: disk full, folder missing, a name twice.
WrittenFile write_safetensors(const std::string& path, const NamedTensors& tensors,
                              const std::map<std::string, std::string>& metadata = {});

// Reads every tensor into memory of its own. All sizes are checked against the file's before memory is taken.
// DataError: missing, truncated, overlapping or overflowing offsets, unknown dtype, bad JSON.
NamedTensors read_safetensors(const std::string& path);
// The same of a file that must have this XXH3-128. It is taken of the very bytes that become tensors, not by reading
// twice. DataError if it is another.
NamedTensors read_safetensors(const std::string& path, const std::string& xxh3_128);

// The tensor of that name, or a DataError naming `path` and the names that are there.
const at::Tensor& find_tensor(const NamedTensors& tensors, const std::string& name, const std::string& path);

}  // namespace muster
