#include "trainer/commands/loss_inputs.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <set>
#include <utility>

#include "dataloader/formats/safetensors.h"
#include "launch/error.h"

namespace muster {
namespace {

constexpr char kInputs[] =
    "image, text, identity and perhaps weight, log_scale, logit_bias; image_sizes and text_sizes of sets of rows; "
    "image.NAME and text.NAME (image_sizes.NAME, text_sizes.NAME) of the pair NAME";

std::string shape_of(const at::Tensor& tensor) {
  return fmt::format("{} [{}]", c10::toString(tensor.scalar_type()), fmt::join(tensor.sizes(), ", "));
}

const at::Tensor* find(const NamedTensors& tensors, const std::string& name) {
  for (const auto& [other, tensor] : tensors) {
    if (other == name) return &tensor;
  }
  return nullptr;
}

std::optional<double> read_number(const NamedTensors& tensors, const std::string& name, const std::string& path) {
  const at::Tensor* tensor = find(tensors, name);
  if (tensor == nullptr) return std::nullopt;
  if (tensor->numel() != 1 || !tensor->is_floating_point() || !std::isfinite(tensor->item<double>())) {
    throw DataError(
        fmt::format("{}: '{}' is {}; give one finite floating-point number", path, name, shape_of(*tensor)));
  }
  return tensor->item<double>();
}

bool starts_with(const std::string& text, const std::string& start) {
  return text.compare(0, start.size(), start) == 0;
}

// The pair that `name` is of where it is that pair's `what`; empty: it is not.
std::string pair_of(const std::string& name, const std::string& what) {
  if (name == what) return "global";
  const std::string pair = starts_with(name, what + ".") ? name.substr(what.size() + 1) : "";
  return pair == "global" ? "" : pair;
}

void check_names(const NamedTensors& tensors, const std::string& path) {
  const std::set<std::string> known = {"identity", "weight", "log_scale", "logit_bias"};
  const std::pair<const char*, const char*> partners[] = {
      {"image", "text"}, {"text", "image"}, {"image_sizes", "text_sizes"}, {"text_sizes", "image_sizes"}};
  for (const auto& [name, tensor] : tensors) {
    bool is_known = known.count(name) > 0;
    for (const auto& [what, partner] : partners) {
      const std::string pair = pair_of(name, what);
      if (pair.empty()) continue;
      is_known = true;
      find_tensor(tensors, partner + pair_suffix(pair), path);
      find_tensor(tensors, "image" + pair_suffix(pair), path);
    }
    if (!is_known) throw DataError(fmt::format("{}: '{}' is not an input; give {}", path, name, kInputs));
  }
}

std::vector<int64_t> read_sizes(const NamedTensors& tensors, const std::string& side, const at::Tensor& rows,
                                const std::string& path) {
  const at::Tensor sizes = find_tensor(tensors, side, path);
  if (sizes.scalar_type() != at::kLong || sizes.dim() != 1 || sizes.numel() == 0) {
    throw DataError(
        fmt::format("{}: '{}' is {}; give int64 [B], the number of rows of each sample", path, side, shape_of(sizes)));
  }
  const int64_t* data = sizes.const_data_ptr<int64_t>();
  int64_t left = rows.size(0);
  const int64_t least = starts_with(side, "image") ? 1 : 0;
  for (int64_t i = 0; i < sizes.numel(); ++i) {
    if (data[i] < least || data[i] > left) {
      throw DataError(
          fmt::format("{}: '{}'[{}] is {}; give {} or more, {} in sum", path, side, i, data[i], least, rows.size(0)));
    }
    left -= data[i];
  }
  if (left == 0) return {data, data + sizes.numel()};
  throw DataError(fmt::format("{}: '{}' counts {} rows, there are {}; count every row", path, side, rows.size(0) - left,
                              rows.size(0)));
}

void check_rows(const at::Tensor& rows, const std::string& name, const std::string& path) {
  const at::ScalarType dtype = rows.scalar_type();
  if (rows.dim() == 2 && rows.numel() > 0 && (dtype == at::kFloat || dtype == at::kDouble)) return;
  throw DataError(
      fmt::format("{}: '{}' is {}; give float32 or float64 [B, d], B and d at least 1", path, name, shape_of(rows)));
}

FeaturePair read_pair(const NamedTensors& tensors, const std::string& pair, const std::string& path) {
  const std::string suffix = pair_suffix(pair);
  const at::Tensor image = find_tensor(tensors, "image" + suffix, path);
  const at::Tensor text = find_tensor(tensors, "text" + suffix, path);
  check_rows(image, "image" + suffix, path);
  const bool of_sets = find(tensors, "image_sizes" + suffix) != nullptr;
  const bool fits = of_sets ? text.dim() == 2 && text.size(1) == image.size(1) : text.sizes() == image.sizes();
  if (!fits || text.scalar_type() != image.scalar_type()) {
    throw DataError(fmt::format("{}: 'text{}' is {}; give it the {} and dtype of 'image{}', {}", path, suffix,
                                shape_of(text), of_sets ? "width" : "shape", suffix, shape_of(image)));
  }
  FeaturePair features{pair, image, text};
  if (!of_sets) return features;
  features.sets = {read_sizes(tensors, "image_sizes" + suffix, image, path),
                   read_sizes(tensors, "text_sizes" + suffix, text, path)};
  if (features.sets->image.size() != features.sets->text.size()) {
    throw DataError(fmt::format("{}: 'image_sizes{}' has {} samples, 'text_sizes{}' {}; give both the same", path,
                                suffix, features.sets->image.size(), suffix, features.sets->text.size()));
  }
  return features;
}

int64_t samples_of(const FeaturePair& pair) {
  return pair.sets ? static_cast<int64_t>(pair.sets->image.size()) : pair.image.size(0);
}

std::vector<FeaturePair> read_pairs(const NamedTensors& tensors, const std::string& path) {
  std::vector<FeaturePair> pairs;
  for (const auto& [name, tensor] : tensors) {
    const std::string pair = pair_of(name, "image");
    if (!pair.empty()) pairs.push_back(read_pair(tensors, pair, path));
  }
  if (pairs.empty()) throw DataError(fmt::format("{}: there is no 'image'; give {}", path, kInputs));
  const FeaturePair& first = pairs.front();
  for (const FeaturePair& pair : pairs) {
    if (samples_of(pair) == samples_of(first) && pair.image.scalar_type() == first.image.scalar_type()) continue;
    throw DataError(
        fmt::format("{}: 'image{}' is {} of {} samples, 'image{}' {} of {}; give all pairs the same samples "
                    "and dtype",
                    path, pair_suffix(pair.name), shape_of(pair.image), samples_of(pair), pair_suffix(first.name),
                    shape_of(first.image), samples_of(first)));
  }
  return pairs;
}

}  // namespace

std::string pair_suffix(const std::string& pair) {
  return pair == "global" ? "" : "." + pair;
}

LossInputs read_loss_inputs(const std::string& path) {
  const NamedTensors tensors = read_safetensors(path);
  check_names(tensors, path);
  LossInputs inputs;
  inputs.pairs = read_pairs(tensors, path);
  inputs.identity = find_tensor(tensors, "identity", path);
  const int64_t rows = samples_of(inputs.pairs.front());
  if (inputs.identity.scalar_type() != at::kLong || inputs.identity.dim() != 1 || inputs.identity.size(0) != rows) {
    throw DataError(fmt::format("{}: 'identity' is {}; give int64 [{}], one for each sample", path,
                                shape_of(inputs.identity), rows));
  }
  if (const at::Tensor* weight = find(tensors, "weight")) {
    if (!weight->is_floating_point() || weight->dim() != 1 || weight->size(0) != rows) {
      throw DataError(fmt::format("{}: 'weight' is {}; give float32 or float64 [{}], one for each sample", path,
                                  shape_of(*weight), rows));
    }
    inputs.weight = weight->to(at::kDouble);
  }
  inputs.log_scale = read_number(tensors, "log_scale", path);
  inputs.logit_bias = read_number(tensors, "logit_bias", path);
  return inputs;
}

}  // namespace muster
