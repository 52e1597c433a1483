#include "dataloader/formats/safetensors_rows.h"

#include <ATen/ops/empty.h>
#include <unistd.h>

#include <algorithm>

#include "launch/error.h"

namespace muster {
namespace {

const TensorEntry& find_entry(const std::vector<TensorEntry>& entries, const std::string& name,
                              const std::string& path) {
  std::string names;
  for (const TensorEntry& entry : entries) {
    if (entry.name == name) return entry;
    names += (names.empty() ? "" : ", ") + entry.name;
  }
  throw DataError(path + " has no tensor named " + name + "; it has: " + (names.empty() ? "none" : names));
}

// Bytes of a row; 0 rows have none.
uint64_t row_bytes(const TensorEntry& entry) {
  if (entry.shape.empty() || entry.shape[0] == 0) return 0;
  return (entry.end - entry.begin) / static_cast<uint64_t>(entry.shape[0]);
}

void check_rows(const TensorEntry& entry, int64_t first, int64_t count, const std::string& path) {
  if (!entry.shape.empty() && first >= 0 && count >= 0 && first <= entry.shape[0] && count <= entry.shape[0] - first) {
    return;
  }
  throw DataError(path + ": tensor " + entry.name + " has no rows " + std::to_string(first) + " to " +
                  std::to_string(first + count));
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::string& path)
    : file_(path), entries_(read_safetensors_header(file_, data_begin_)) {}

std::vector<TensorShape> SafetensorsFile::tensors() const {
  std::vector<TensorShape> shapes;
  for (const TensorEntry& entry : entries_) shapes.push_back({entry.name, entry.type, entry.shape});
  return shapes;
}

bool SafetensorsFile::has(const std::string& name) const {
  return std::any_of(entries_.begin(), entries_.end(), [&](const TensorEntry& entry) { return entry.name == name; });
}

const TensorEntry& SafetensorsFile::find(const std::string& name) const {
  return find_entry(entries_, name, path());
}

const std::vector<int64_t>& SafetensorsFile::sizes(const std::string& name) const {
  return find(name).shape;
}

at::Tensor SafetensorsFile::read(const std::string& name) const {
  const TensorEntry& entry = find(name);
  at::Tensor tensor = at::empty(entry.shape, at::TensorOptions(entry.type));
  file_.read(tensor.mutable_data_ptr(), tensor.nbytes(), data_begin_ + entry.begin);
  return tensor;
}

at::Tensor SafetensorsFile::read_rows(const std::string& name, int64_t first, int64_t count) const {
  const TensorEntry& entry = find(name);
  check_rows(entry, first, count, path());
  std::vector<int64_t> sizes = entry.shape;
  sizes[0] = count;
  at::Tensor tensor = at::empty(sizes, at::TensorOptions(entry.type));
  file_.read(tensor.mutable_data_ptr(), tensor.nbytes(),
             data_begin_ + entry.begin + static_cast<uint64_t>(first) * row_bytes(entry));
  return tensor;
}

void create_safetensors(const std::string& path, const std::vector<TensorShape>& tensors) {
  std::vector<TensorEntry> entries;
  for (const TensorShape& tensor : tensors) entries.push_back({tensor.name, tensor.type, tensor.sizes, 0, 0});
  const std::string header = lay_out_safetensors(entries, {}, path);
  OutputFile file(path);
  file.write(header.data(), header.size());
  file.finish();
  const uint64_t bytes = header.size() + (entries.empty() ? 0 : entries.back().end);
  if (truncate(path.c_str(), static_cast<off_t>(bytes)) != 0) throw_system_error("cannot write", path);
}

void write_safetensors_rows(const std::string& path, int64_t first, const NamedTensors& rows) {
  uint64_t data_begin = 0;
  const std::vector<TensorEntry> entries = read_safetensors_header(InputFile(path), data_begin);
  for (const auto& [name, tensor] : rows) {
    const TensorEntry& entry = find_entry(entries, name, path);
    check_rows(entry, first, tensor.size(0), path);
    const uint64_t bytes = tensor.size(0) == 0 ? 0 : tensor.nbytes() / static_cast<uint64_t>(tensor.size(0));
    if (entry.type != tensor.scalar_type() || (bytes != 0 && bytes != row_bytes(entry))) {
      throw DataError(path + ": tensor " + name + " has rows of another size or type");
    }
    OutputFile file(path, data_begin + entry.begin + static_cast<uint64_t>(first) * row_bytes(entry));
    const at::Tensor contiguous = tensor.contiguous();
    file.write(contiguous.const_data_ptr(), contiguous.nbytes());
    file.finish();
  }
}

}  // namespace muster
