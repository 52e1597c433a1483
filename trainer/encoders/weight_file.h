// A file of named tensors in whatever format others have written it, told by its content alone.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "dataloader/formats/safetensors_rows.h"
#include "dataloader/formats/torch_file.h"

namespace muster {

// For one thread.
class WeightFile {
 public:
  // safetensors, or a zip archive of torch.save or torch.jit.save (torch_file.h). Reads what is where, and no tensor.
  // DataError: neither, damaged, written by a PyTorch before 1.6; a tensor's name that could not be printed.
  explicit WeightFile(const std::string& path);

  const std::string& path() const { return path_; }
  // "safetensors", "TorchScript" or "torch.save"
  const char* format() const;
  const std::vector<TensorShape>& tensors() const { return tensors_; }

  // Calls take(i, tensor) for tensors()[i] of each i in `wanted`, in any order; the tensor is for the call only. Holds
  // one tensor at a time, of a torch file one storage.
  void read(const std::vector<size_t>& wanted, const std::function<void(size_t, const at::Tensor&)>& take) const;

 private:
  std::string path_;
  std::optional<SafetensorsFile> safetensors_;
  std::optional<TorchFile> torch_;
  std::vector<TensorShape> tensors_;
};

}  // namespace muster
