#include "dataloader/formats/safetensors_header.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "dataloader/formats/json.h"
#include "launch/error.h"

namespace muster {
namespace {

using nlohmann::json;

// Bounds on what a header takes beyond its own bytes. The reference implementation's are 100 MB and none.
constexpr uint64_t kMaxHeaderBytes = 16 << 20;
constexpr size_t kMaxTensors = 100'000;
constexpr size_t kMaxEntryValues = 20'000;  // of a tensor, which has some ten, or of the metadata
constexpr size_t kMaxDimensions = 64;

struct DtypeName {
  const char* name;
  at::ScalarType type;
};
constexpr DtypeName kDtypes[] = {
    {"F64", at::kDouble}, {"F32", at::kFloat}, {"F16", at::kHalf}, {"BF16", at::kBFloat16}, {"I64", at::kLong},
    {"I32", at::kInt},    {"I16", at::kShort}, {"I8", at::kChar},  {"U8", at::kByte},       {"BOOL", at::kBool}};

std::string dtype_name(at::ScalarType type, const std::string& path) {
  for (const DtypeName& dtype : kDtypes) {
    if (dtype.type == type) return dtype.name;
  }
  throw DataError(path + ": tensors of type " + c10::toString(type) + " cannot be written as safetensors");
}

uint64_t unsigned_at(const json& list, size_t index, const std::string& where) {
  if (!list[index].is_number_unsigned()) throw DataError(where + ": sizes and offsets must be whole numbers from 0 up");
  return list[index].get<uint64_t>();
}

const json& list_of(const json& entry, const char* key, const std::string& where) {
  if (!entry.is_object() || !entry.contains(key) || !entry[key].is_array()) {
    throw DataError(where + ": its header entry lacks the list " + key);
  }
  return entry[key];
}

TensorEntry parse_entry(const std::string& name, const json& value, const std::string& where) {
  TensorEntry entry;
  entry.name = name;
  const json& shape = list_of(value, "shape", where);
  const json& offsets = list_of(value, "data_offsets", where);
  if (offsets.size() != 2 || shape.size() > kMaxDimensions)
    throw DataError(where + ": its offsets or shape are not as they should be");
  const auto dtype = std::find_if(std::begin(kDtypes), std::end(kDtypes), [&](const DtypeName& d) {
    return value.contains("dtype") && value["dtype"].is_string() &&
           value["dtype"].get_ref<const std::string&>() == d.name;
  });
  if (dtype == std::end(kDtypes))
    throw DataError(where + ": its dtype is none of F64 F32 F16 BF16 I64 I32 I16 I8 U8 BOOL");
  entry.type = dtype->type;

  // A zero makes the tensor empty; the other sizes must still multiply without overflow, since strides are made of
  // them.
  bool empty = false, overflow = false;
  int64_t count = 1;
  for (size_t i = 0; i < shape.size(); ++i) {
    const uint64_t size = unsigned_at(shape, i, where);
    overflow |= size > INT64_MAX;
    empty |= size == 0;
    entry.shape.push_back(static_cast<int64_t>(size));
    if (size > 0) overflow |= __builtin_mul_overflow(count, entry.shape.back(), &count);
  }
  int64_t bytes = 0;
  overflow |= __builtin_mul_overflow(count, static_cast<int64_t>(c10::elementSize(entry.type)), &bytes);
  entry.begin = unsigned_at(offsets, 0, where);
  entry.end = unsigned_at(offsets, 1, where);
  if (empty) bytes = 0;
  if (overflow || entry.end < entry.begin || entry.end - entry.begin != static_cast<uint64_t>(bytes)) {
    throw DataError(where + ": its shape does not fit the bytes the header gives it; the file is damaged");
  }
  return entry;
}

// The tensors must lie end to end and fill the data part: no holes, no overlap, as the reference demands.
void check_layout(std::vector<TensorEntry>& entries, uint64_t data_bytes, const std::string& path) {
  std::stable_sort(entries.begin(), entries.end(), [](const TensorEntry& a, const TensorEntry& b) {
    return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
  });
  uint64_t next = 0;
  for (const TensorEntry& entry : entries) {
    if (entry.begin != next) {
      throw DataError(path + ": tensor " + entry.name + " overlaps another or leaves a hole; the file is damaged");
    }
    next = entry.end;
  }
  if (next != data_bytes) {
    throw DataError(path + ": the header speaks of " + std::to_string(next) + " bytes of tensors, the file holds " +
                    std::to_string(data_bytes) + "; it is truncated or damaged");
  }
}

}  // namespace

std::vector<TensorEntry> read_safetensors_header(const InputFile& file, uint64_t& data_begin, StreamHash* hash) {
  const std::string& path = file.path();
  uint64_t header_bytes = 0;
  if (file.size() < sizeof header_bytes) throw DataError(path + " is not a safetensors file: it is too short");
  file.read(&header_bytes, sizeof header_bytes, 0);
  if (header_bytes > file.size() - sizeof header_bytes) {
    throw DataError(path + " is not a safetensors file, or truncated: its header would have " +
                    std::to_string(header_bytes) + " bytes");
  }
  if (header_bytes > kMaxHeaderBytes) {
    throw DataError(path + ": its safetensors header has " + std::to_string(header_bytes) + " bytes, more than the " +
                    std::to_string(kMaxHeaderBytes) + " that Muster takes");
  }
  data_begin = sizeof header_bytes + header_bytes;
  std::string text(header_bytes, '\0');
  file.read(text.data(), text.size(), sizeof header_bytes);
  if (hash != nullptr) {
    hash->update(&header_bytes, sizeof header_bytes);
    hash->update(text.data(), text.size());
  }
  std::vector<TensorEntry> entries;
  parse_json_members(text, path + " (safetensors header)", kMaxTensors, kMaxEntryValues,
                     [&](const std::string& name, const json& value) {
                       if (name == "__metadata__") return;
                       entries.push_back(parse_entry(name, value, path + ": tensor " + name));
                     });
  check_layout(entries, file.size() - data_begin, path);
  return entries;
}

std::string lay_out_safetensors(std::vector<TensorEntry>& entries, const std::map<std::string, std::string>& metadata,
                                const std::string& path) {
  std::set<std::string> names{"__metadata__"};
  for (const TensorEntry& entry : entries) {
    if (!names.insert(entry.name).second) {
      throw DataError("cannot write " + path + ": two tensors are named " + entry.name);
    }
  }
  std::stable_sort(entries.begin(), entries.end(), [](const TensorEntry& a, const TensorEntry& b) {
    return c10::elementSize(a.type) > c10::elementSize(b.type);
  });
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t next = 0;
  for (TensorEntry& entry : entries) {
    uint64_t bytes = c10::elementSize(entry.type);
    for (const int64_t size : entry.shape) bytes *= static_cast<uint64_t>(size);
    entry.begin = next;
    entry.end = next += bytes;
    header[entry.name] = {
        {"dtype", dtype_name(entry.type, path)}, {"shape", entry.shape}, {"data_offsets", {entry.begin, entry.end}}};
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  const uint64_t header_bytes = text.size();
  std::string bytes(reinterpret_cast<const char*>(&header_bytes), sizeof header_bytes);
  return bytes + text;
}

}  // namespace muster
