#include "trainer/encoders/weight_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "launch/error.h"

namespace muster {
namespace {

enum class Format { kSafetensors, kZip, kOldTorch, kUnknown };

// A length, and JSON behind it.
bool is_safetensors(std::string_view start) {
  return start.size() == 9 && start.back() == '{';
}

Format format_of(const std::string& path) {
  const InputFile file(path);
  std::string start(std::min<uint64_t>(file.size(), 9), '\0');
  file.read(start.data(), start.size(), 0);
  if (start.rfind("PK\3\4", 0) == 0) return Format::kZip;
  // Before 1.6 torch.save wrote several pickles, the first of them a number.
  if (start.rfind("\x80\2\x8a\n", 0) == 0) return Format::kOldTorch;
  return is_safetensors(start) ? Format::kSafetensors : Format::kUnknown;
}

}  // namespace

WeightFile::WeightFile(const std::string& path) : path_(path) {
  switch (format_of(path)) {
    case Format::kSafetensors:
      tensors_ = safetensors_.emplace(path).tensors();
      break;
    case Format::kZip:
      tensors_ = torch_.emplace(path).tensors();
      break;
    case Format::kOldTorch:
      throw DataError(
          fmt::format("{0}: written by a PyTorch before 1.6, which Muster does not read; write it anew, in Python: "
                      "torch.save(torch.load(\"{0}\", map_location=\"cpu\", weights_only=True), \"new.pt\")",
                      path));
    case Format::kUnknown:
      throw DataError(path + ": neither safetensors nor a file of torch.save or torch.jit.save");
  }
  for (const TensorShape& tensor : tensors_) {
    const bool printable = std::none_of(tensor.name.begin(), tensor.name.end(), [](char character) {
      return static_cast<unsigned char>(character) < 0x20 || character == 0x7F;
    });
    if (!printable) throw DataError(path + ": a tensor's name has control characters; the file is damaged");
  }
}

const char* WeightFile::format() const {
  if (safetensors_) return "safetensors";
  return torch_->is_script() ? "TorchScript" : "torch.save";
}

void WeightFile::read(const std::vector<size_t>& wanted,
                      const std::function<void(size_t, const at::Tensor&)>& take) const {
  if (torch_) return torch_->read(wanted, take);
  for (const size_t i : wanted) take(i, safetensors_->read(tensors_[i].name));
}

}  // namespace muster
