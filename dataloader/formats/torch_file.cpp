#include "dataloader/formats/torch_file.h"

#include <ATen/ops/as_strided.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "dataloader/formats/pickle_reader.h"
#include "launch/error.h"

namespace muster {
namespace {

using Kind = PickleValue::Kind;

constexpr uint64_t kMaxPickleBytes = 32 << 20;
constexpr size_t kMaxTensors = 100'000;
constexpr size_t kMaxVisits = 1'000'000;
constexpr size_t kMaxNameBytes = 500;
constexpr size_t kMaxDimensions = 64;

struct StorageType {
  const char* name;
  at::ScalarType type;
};
constexpr StorageType kStorageTypes[] = {{"torch.FloatStorage", at::kFloat},   {"torch.HalfStorage", at::kHalf},
                                         {"torch.DoubleStorage", at::kDouble}, {"torch.BFloat16Storage", at::kBFloat16},
                                         {"torch.LongStorage", at::kLong},     {"torch.IntStorage", at::kInt},
                                         {"torch.ShortStorage", at::kShort},   {"torch.CharStorage", at::kChar},
                                         {"torch.ByteStorage", at::kByte},     {"torch.BoolStorage", at::kBool}};

// The one entry FOLDER/data.pkl.
const ZipReader::Entry& find_pickle(const ZipReader& zip) {
  constexpr std::string_view kPickle = "/data.pkl";
  const ZipReader::Entry* found = nullptr;
  for (const ZipReader::Entry& entry : zip.entries()) {
    const size_t slash = entry.name.find('/');
    if (slash == std::string::npos || entry.name.compare(slash, std::string::npos, kPickle) != 0) continue;
    if (found != nullptr) throw DataError(zip.path() + ": a zip archive with several data.pkl; PyTorch writes one");
    found = &entry;
  }
  if (found == nullptr) {
    throw DataError(zip.path() + ": a zip archive, but none of PyTorch's: it has no uncompressed data.pkl");
  }
  return *found;
}

// Whole numbers of a tuple; false if it is none, or holds anything else or below 0.
bool take_sizes(const PickleValue& tuple, std::vector<int64_t>& sizes) {
  if (tuple.kind != Kind::kTuple || tuple.items.size() > kMaxDimensions) return false;
  for (const PickleValue* item : tuple.items) {
    if (item->kind != Kind::kInteger || item->integer < 0) return false;
    sizes.push_back(item->integer);
  }
  return true;
}

// Whether a view lies within a storage of `elements`, and has no more of them than it; all are at least 0.
bool fits(const std::vector<int64_t>& sizes, const std::vector<int64_t>& strides, int64_t offset, int64_t elements) {
  bool empty = false, overflow = false;
  int64_t count = 1, last = offset;
  for (size_t i = 0; i < sizes.size(); ++i) {
    int64_t reach = 0;
    empty |= sizes[i] == 0;
    overflow |= __builtin_mul_overflow(count, std::max<int64_t>(sizes[i], 1), &count);
    overflow |= __builtin_mul_overflow(std::max<int64_t>(sizes[i] - 1, 0), strides[i], &reach);
    overflow |= __builtin_add_overflow(last, reach, &last);
  }
  if (overflow) return false;
  return empty ? offset <= elements : last < elements && count <= elements;
}

}  // namespace

TorchFile::TorchFile(const std::string& path) : zip_(path) {
  const ZipReader::Entry& pickle = find_pickle(zip_);
  folder_ = pickle.name.substr(0, pickle.name.find('/'));
  if (const ZipReader::Entry* order = zip_.find(folder_ + "/byteorder")) {
    if (zip_.read(*order, 16) != "little") throw DataError(path + ": its numbers are not little-endian");
  }
  const std::string bytes = zip_.read(pickle, kMaxPickleBytes);
  const PickleTree tree = read_pickle(bytes, path);
  is_script_ = tree.root().kind == Kind::kObject;
  if (is_script_) {
    add_module(tree.root(), "");
  } else {
    add_dict(tree.root());
  }
  std::vector<std::string> names;
  for (const TensorShape& tensor : tensors_) names.push_back(tensor.name);
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end()) damaged(*twice, "is there twice");
}

void TorchFile::damaged(const std::string& name, const std::string& what) const {
  throw DataError(fmt::format("{}: tensor {} {}; the file is damaged", path(), name, what));
}

// The pickle's nesting is bounded; the paths through what it shares are not.
void TorchFile::add_module(const PickleValue& module, const std::string& path) {
  for (size_t i = 0; i + 1 < module.items.size(); i += 2) {
    if (++visits_ > kMaxVisits) throw DataError(this->path() + ": too many modules");
    const PickleValue &key = *module.items[i], &value = *module.items[i + 1];
    if (key.kind != Kind::kString) continue;
    if (value.kind == Kind::kTensor) add(path + key.text, value);
    if (value.kind != Kind::kObject) continue;
    if (path.size() + key.text.size() > kMaxNameBytes) throw DataError(this->path() + ": a module's name is too long");
    add_module(value, path + key.text + ".");
  }
}

void TorchFile::add_dict(const PickleValue& root) {
  const PickleValue* dict = &root;
  for (const char* key : {"state_dict", "model"}) {
    const PickleValue* inner = root.kind == Kind::kDict ? find_value(root, key) : nullptr;
    if (inner == nullptr || inner->kind != Kind::kDict) continue;
    dict = inner;
    break;
  }
  for (size_t i = 0; dict->kind == Kind::kDict && i + 1 < dict->items.size(); i += 2) {
    if (dict->items[i]->kind != Kind::kString || dict->items[i + 1]->kind != Kind::kTensor) continue;
    add(dict->items[i]->text, *dict->items[i + 1]);
  }
  if (tensors_.empty()) {
    throw DataError(
        path() + ": holds no dict of tensors, such as model.state_dict(), alone or as its \"state_dict\" or \"model\"");
  }
}

const ZipReader::Entry& TorchFile::storage_entry(const std::string& key, const std::string& name) const {
  const ZipReader::Entry* entry = zip_.find(folder_ + "/data/" + key);
  if (entry == nullptr) damaged(name, "has no storage in the archive");
  return *entry;
}

void TorchFile::add(const std::string& name, const PickleValue& tensor) {
  if (name.size() > kMaxNameBytes) throw DataError(path() + ": a tensor's name is too long");
  if (tensors_.size() == kMaxTensors) throw DataError(path() + ": more than 100000 tensors");
  const PickleValue &storage = *tensor.items[0], &offset = *tensor.items[1];
  if (storage.kind != Kind::kStorage || offset.kind != Kind::kInteger) damaged(name, "has no storage");
  const auto type = std::find_if(std::begin(kStorageTypes), std::end(kStorageTypes),
                                 [&](const StorageType& known) { return known.name == storage.items[1]->text; });
  if (type == std::end(kStorageTypes)) damaged(name, "is of no type that tensors have");
  View view{0, storage.integer, offset.integer, {}};
  std::vector<int64_t> sizes;
  const ZipReader::Entry& entry = storage_entry(storage.items[0]->text, name);
  view.entry = static_cast<uint64_t>(&entry - zip_.entries().data());
  const auto element = static_cast<uint64_t>(c10::elementSize(type->type));
  if (view.storage_size < 0 || entry.bytes % element != 0 ||
      entry.bytes / element != static_cast<uint64_t>(view.storage_size)) {
    damaged(name, fmt::format("should lie in a storage of {} elements, and that has {} bytes", view.storage_size,
                              entry.bytes));
  }
  const bool whole = view.offset >= 0 && take_sizes(*tensor.items[2], sizes) &&
                     take_sizes(*tensor.items[3], view.strides) && sizes.size() == view.strides.size() &&
                     fits(sizes, view.strides, view.offset, view.storage_size);
  if (!whole) damaged(name, "reaches beyond its storage");
  tensors_.push_back({name, type->type, std::move(sizes)});
  views_.push_back(std::move(view));
}

void TorchFile::read(const std::vector<size_t>& wanted,
                     const std::function<void(size_t, const at::Tensor&)>& take) const {
  std::vector<size_t> order = wanted;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return views_[a].entry < views_[b].entry; });
  at::Tensor storage;
  for (size_t i = 0; i < order.size(); ++i) {
    const View& view = views_[order[i]];
    const TensorShape& tensor = tensors_[order[i]];
    const bool same = i > 0 && views_[order[i - 1]].entry == view.entry && storage.scalar_type() == tensor.type;
    if (!same) {
      storage = at::Tensor();
      storage = at::empty({view.storage_size}, at::TensorOptions(tensor.type));
      zip_.read(zip_.entries()[view.entry], storage.mutable_data_ptr());
    }
    take(order[i], at::as_strided(storage, tensor.sizes, view.strides, view.offset));
  }
}

}  // namespace muster
