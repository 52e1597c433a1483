// A CLIP model that others have published: which file it is, and its sizes, from the tensors' names and shapes.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "trainer/encoders/encoders.pb.h"
#include "trainer/encoders/position_tables.h"
#include "trainer/encoders/published_names.h"
#include "trainer/encoders/weight_file.h"

namespace muster {

// For one thread.
class PublishedModel {
 public:
  // Taken are files with the tensors of OpenAI's CLIP (TorchScript, as OpenAI publishes it), open_clip (also a training
  // checkpoint, whose names begin with "module."), IRRA and its kin ("base_model.") and transformers' CLIPModel. What
  // the tensors do not show, heads and activation, is OpenAI's (width / 64, QuickGELU) or stands in
  // open_clip_config.json or config.json beside the file; without these the heads are taken to be width / 64, and the
  // activation is not set. DataError: as WeightFile; no such model; a model of another kind, such as with a ResNet;
  // sizes of a model far larger than the file, which nobody should take memory for.
  explicit PublishedModel(const std::string& path);

  const WeightFile& file() const { return file_; }
  NameStyle style() const { return style_; }
  // Before every name of the file: "", "module.", "base_model.".
  const std::string& prefix() const { return prefix_; }
  // "OpenAI's CLIP", "IRRA", ...
  const std::string& family() const { return family_; }
  // The tensor's place in file().tensors(); `name` without the prefix.
  std::optional<size_t> find(const std::string& name) const;

  // All that is known. The image's pixels are not set if the position table is not that of a square.
  const ModelConfig& model() const { return model_; }
  // Whether heads and activation are known, from the family or a file beside it.
  bool states_heads() const { return states_heads_; }

  // ConfigError naming the first size that differs from a resolved config's; another input size is no difference.
  void check_agrees(const ModelConfig& config) const;
  // Of the file's position table. IRRA's, or one that is no square, is taken to have the config's shape if that has as
  // many patches. DataError: cannot be told.
  PatchGrid grid(const VisionConfig& config) const;

 private:
  void find_style();
  void take_sizes();
  // Of our tensor outside the blocks, as it lies in the file. DataError: missing, or of other dimensions.
  const std::vector<int64_t>& shape_of(const std::string& ours, size_t dimensions) const;
  int count_blocks(const std::string& tower) const;
  void check_holds_its_model() const;

  WeightFile file_;
  std::map<std::string, size_t> places_;
  NameStyle style_ = NameStyle::kClip;
  std::string prefix_, family_;
  ModelConfig model_;
  bool states_heads_ = false;
};

// The config with what neither it nor its preset gives set as in the file at `weights`, which is opened only if
// something is missing. Errors as PublishedModel's.
ModelConfig complete_from_published(const ModelConfig& config, const std::string& weights);

}  // namespace muster
