#include "dataloader/formats/safetensors.h"

#include <ATen/ops/empty.h>

#include <algorithm>

#include "dataloader/formats/atomic_file.h"
#include "dataloader/formats/file.h"
#include "dataloader/formats/hashes.h"
#include "dataloader/formats/safetensors_header.h"
#include "launch/error.h"

namespace muster {

WrittenFile write_safetensors(const std::string& path, const NamedTensors& tensors,
                              const std::map<std::string, std::string>& metadata) {
  std::vector<TensorEntry> entries;
  for (const auto& [name, tensor] : tensors) {
    entries.push_back({name, tensor.scalar_type(), tensor.sizes().vec(), 0, 0});
  }
  const std::string header = lay_out_safetensors(entries, metadata, path);
  return write_file_atomically(path, [&](const ByteSink& sink) {
    sink(header.data(), header.size());
    for (const TensorEntry& entry : entries) {
      const at::Tensor tensor = find_tensor(tensors, entry.name, path).to(at::kCPU).contiguous();
      sink(tensor.const_data_ptr(), tensor.nbytes());
    }
  });
}

namespace {

NamedTensors read_hashed(const std::string& path, StreamHash* hash) {
  const InputFile file(path);
  uint64_t data_begin = 0;
  NamedTensors tensors;
  for (const TensorEntry& entry : read_safetensors_header(file, data_begin, hash)) {
    at::Tensor tensor = at::empty(entry.shape, at::TensorOptions(entry.type));
    file.read(tensor.mutable_data_ptr(), tensor.nbytes(), data_begin + entry.begin);
    if (hash != nullptr) hash->update(tensor.const_data_ptr(), tensor.nbytes());
    if (entry.type == at::kBool) {
      const auto* bytes = static_cast<const uint8_t*>(tensor.const_data_ptr());
      if (std::any_of(bytes, bytes + tensor.nbytes(), [](uint8_t byte) { return byte > 1; })) {
        throw DataError(path + ": tensor " + entry.name +
                        " is BOOL but holds bytes other than 0 and 1; the file is damaged");
      }
    }
    tensors.emplace_back(entry.name, std::move(tensor));
  }
  return tensors;
}

}  // namespace

NamedTensors read_safetensors(const std::string& path) {
  return read_hashed(path, nullptr);
}

NamedTensors read_safetensors(const std::string& path, const std::string& xxh3_128) {
  StreamHash hash;
  NamedTensors tensors = read_hashed(path, &hash);
  if (hash.hex() != xxh3_128) throw DataError(path + " does not have its manifest's hash");
  return tensors;
}

const at::Tensor& find_tensor(const NamedTensors& tensors, const std::string& name, const std::string& path) {
  std::string names;
  for (const auto& [candidate, tensor] : tensors) {
    if (candidate == name) return tensor;
    if (names.size() < 400)
      names += (names.empty() ? "" : ", ") + candidate;
    else if (names.back() != '.')
      names += ", ...";
  }
  throw DataError(path + " has no tensor named " + name + "; it has: " + (names.empty() ? "none" : names));
}

}  // namespace muster
