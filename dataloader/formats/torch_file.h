// Files of torch.save and torch.jit.save: a zip archive of data.pkl, which says what is where, and one entry for each
// tensor's storage. Read as data; no code in them is run.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "dataloader/formats/pickle_value.h"
#include "dataloader/formats/safetensors_rows.h"
#include "dataloader/formats/zip_reader.h"

namespace muster {

// For one thread.
class TorchFile {
 public:
  // Reads what is where, and no tensor. The tensors are those of
  // - a TorchScript module, named by the modules' paths;
  // - a dict of tensors, as from state_dict(), on its own or in a dict as its "state_dict" or "model".
  // DataError: not such a file; a pickle that is refused (pickle_reader.h); a tensor that its storage cannot hold, a
  // storage that is missing or has another size than the pickle says.
  explicit TorchFile(const std::string& path);

  const std::string& path() const { return zip_.path(); }
  bool is_script() const { return is_script_; }
  // In the pickle's order.
  const std::vector<TensorShape>& tensors() const { return tensors_; }

  // Calls take(i, tensor) for tensors()[i] of each i in `wanted`, in the order of their storages, each of which is read
  // once and let go of before the next. The tensor is a view of the storage, perhaps not contiguous, for the call only.
  // DataError: damaged.
  void read(const std::vector<size_t>& wanted, const std::function<void(size_t, const at::Tensor&)>& take) const;

 private:
  // Where one tensor lies, in elements.
  struct View {
    uint64_t entry;  // its storage's place in zip_.entries()
    int64_t storage_size;
    int64_t offset;
    std::vector<int64_t> strides;
  };
  void add_module(const PickleValue& module, const std::string& path);
  void add_dict(const PickleValue& root);
  void add(const std::string& name, const PickleValue& tensor);
  const ZipReader::Entry& storage_entry(const std::string& key, const std::string& name) const;
  [[noreturn]] void damaged(const std::string& name, const std::string& what) const;

  ZipReader zip_;
  std::string folder_;  // all entries' first part
  bool is_script_ = false;
  std::vector<TensorShape> tensors_;
  std::vector<View> views_;
  size_t visits_ = 0;
};

}  // namespace muster
