#include "trainer/encoders/published_model.h"

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "launch/error.h"
#include "trainer/encoders/model_cost.h"
#include "trainer/encoders/published_config.h"

namespace muster {
namespace {

constexpr char kClipMark[] = "visual.class_embedding";
constexpr char kTransformersMark[] = "vision_model.embeddings.class_embedding";
constexpr int64_t kHeadWidth = 64;
constexpr int kMaxLayers = 512;
constexpr double kFewNumbers = 1e6;
constexpr int kMaxSize = 1 << 16;  // resolve_model() takes no larger ones

int to_int(int64_t size) {
  return static_cast<int>(std::min<int64_t>(size, std::numeric_limits<int>::max()));
}

// 0 if it is no square.
int64_t side_of(int64_t patches) {
  const auto side = static_cast<int64_t>(std::lround(std::sqrt(static_cast<double>(patches))));
  return side * side == patches ? side : 0;
}

namespace pb = google::protobuf;

std::string value_of(const pb::Message& message, const pb::FieldDescriptor& field) {
  const pb::Reflection& reflection = *message.GetReflection();
  if (field.cpp_type() == pb::FieldDescriptor::CPPTYPE_ENUM) return reflection.GetEnum(message, &field)->name();
  return std::to_string(reflection.GetInt32(message, &field));
}

// The first field that `there` has and that differs; empty if none does.
std::string first_difference(const pb::Message& there, const pb::Message& here, const std::string& path, bool heads) {
  std::vector<const pb::FieldDescriptor*> fields;
  there.GetReflection()->ListFields(there, &fields);
  for (const pb::FieldDescriptor* field : fields) {
    const std::string name = path + field->name();
    if (field->cpp_type() == pb::FieldDescriptor::CPPTYPE_MESSAGE) {
      const std::string difference = first_difference(there.GetReflection()->GetMessage(there, field),
                                                      here.GetReflection()->GetMessage(here, field), name + ".", heads);
      if (!difference.empty()) return difference;
      continue;
    }
    const bool input =
        field->name() == "width_pixels" || field->name() == "height_pixels" || field->name() == "context";
    if (input || (field->name() == "heads" && !heads)) continue;
    const std::string theirs = value_of(there, *field), ours = value_of(here, *field);
    if (theirs != ours) return fmt::format("{} {} there, {} here", name, theirs, ours);
  }
  return "";
}

}  // namespace

PublishedModel::PublishedModel(const std::string& path) : file_(path) {
  for (size_t i = 0; i < file_.tensors().size(); ++i) places_.emplace(file_.tensors()[i].name, i);
  find_style();
  take_sizes();
  check_holds_its_model();
}

std::optional<size_t> PublishedModel::find(const std::string& name) const {
  const auto place = places_.find(prefix_ + name);
  return place == places_.end() ? std::nullopt : std::optional<size_t>(place->second);
}

void PublishedModel::find_style() {
  for (const char* prefix : {"", "module.", "base_model.", "module.base_model."}) {
    prefix_ = prefix;
    if (find("visual.attnpool.positional_embedding")) {
      throw DataError(file_.path() + ": a CLIP with a ResNet; Muster has vision transformers");
    }
    const bool clip = find(kClipMark).has_value();
    if (!clip && !find(kTransformersMark)) continue;
    style_ = clip ? NameStyle::kClip : NameStyle::kTransformers;
    const bool irra = clip && prefix_.find("base_model.") != std::string::npos;
    const bool script = clip && std::string(file_.format()) == "TorchScript";
    family_ = irra ? "IRRA" : script ? "OpenAI's CLIP" : clip ? "open_clip" : "transformers' CLIPModel";
    states_heads_ = irra || script;
    return;
  }
  const std::string first = file_.tensors().empty() ? "none" : file_.tensors().front().name + ", ...";
  throw DataError(fmt::format("{}: no CLIP that Muster knows: neither {} nor {} is among its {} tensors ({})",
                              file_.path(), kClipMark, kTransformersMark, file_.tensors().size(), first));
}

const std::vector<int64_t>& PublishedModel::shape_of(const std::string& ours, size_t dimensions) const {
  const std::string name = published_name(style_, ours);
  const std::optional<size_t> place = find(name);
  if (!place) throw DataError(fmt::format("{}: no tensor {}{}, which a CLIP has", file_.path(), prefix_, name));
  const std::vector<int64_t>& sizes = file_.tensors()[*place].sizes;
  if (sizes.size() != dimensions || std::find(sizes.begin(), sizes.end(), 0) != sizes.end()) {
    throw DataError(fmt::format("{}: tensor {}{} has shape [{}], must have {} dimensions", file_.path(), prefix_, name,
                                fmt::join(sizes, ", "), dimensions));
  }
  return sizes;
}

int PublishedModel::count_blocks(const std::string& tower) const {
  int layers = 0;
  while (layers < kMaxLayers && find(published_block(style_, tower, layers))) ++layers;
  return layers;
}

void PublishedModel::take_sizes() {
  VisionConfig& image = *model_.mutable_image();
  TextConfig& text = *model_.mutable_text();
  const std::vector<int64_t>& patch = shape_of("image.patch.weight", 4);
  image.set_width(to_int(patch[0]));
  image.set_patch(to_int(patch[3]));
  image.set_layers(count_blocks("image"));
  const int64_t side = side_of(shape_of("image.position_embedding", 2)[0] - 1);
  if (side > 0) {
    image.set_width_pixels(to_int(side * patch[3]));
    image.set_height_pixels(to_int(side * patch[3]));
  }
  text.set_context(to_int(shape_of("text.position_embedding", 2)[0]));
  text.set_vocabulary(to_int(shape_of("text.token_embedding", 2)[0]));
  text.set_width(to_int(shape_of("text.token_embedding", 2)[1]));
  text.set_layers(count_blocks("text"));
  model_.set_joint_width(to_int(shape_of("image.projection", 2)[style_ == NameStyle::kClip ? 1 : 0]));
  if (image.width() % kHeadWidth == 0) image.set_heads(to_int(image.width() / kHeadWidth));
  if (text.width() % kHeadWidth == 0) text.set_heads(to_int(text.width() / kHeadWidth));
  if (states_heads_) {
    model_.set_activation(ModelConfig::QUICK_GELU);
  } else {
    states_heads_ = read_published_config(file_.path(), style_, model_);
  }
}

// Sizes are read off a few tensors; those of all others follow from them. Position tables may be resized, and count as
// those of one patch and one token.
void PublishedModel::check_holds_its_model() const {
  ModelConfig least = model_;
  least.mutable_image()->set_width_pixels(least.image().patch());
  least.mutable_image()->set_height_pixels(least.image().patch());
  least.mutable_text()->set_context(1);
  if (std::max({least.image().width(), least.image().patch(), least.text().width(), least.joint_width()}) > kMaxSize) {
    return;
  }
  double held = 0;
  for (const TensorShape& tensor : file_.tensors()) {
    held += std::accumulate(tensor.sizes.begin(), tensor.sizes.end(), 1.0, std::multiplies<>());
  }
  const int64_t needed = count_parameters(least);
  if (static_cast<double>(needed) <= 2 * held + kFewNumbers) return;  // a wrong shape is named later
  throw DataError(
      fmt::format("{}: its tensors' sizes are those of a model of {} numbers (widths {} and {}, patches of {}), and it "
                  "holds {:.0f}; the file is damaged",
                  file_.path(), needed, least.image().width(), least.text().width(), least.image().patch(), held));
}

void PublishedModel::check_agrees(const ModelConfig& config) const {
  const std::string difference = first_difference(model_, config, "", states_heads_);
  if (difference.empty()) return;
  throw ConfigError(
      fmt::format("train.init.weights {} is of another model ({}): leave model.preset and these sizes out, "
                  "and they are the file's, or give another file",
                  file_.path(), difference));
}

PatchGrid PublishedModel::grid(const VisionConfig& config) const {
  const int64_t patches = shape_of("image.position_embedding", 2)[0] - 1, side = side_of(patches);
  const int64_t rows = config.height_pixels() / config.patch(), columns = config.width_pixels() / config.patch();
  if (rows * columns == patches && (side == 0 || family_ == "IRRA")) return {rows, columns};
  if (side > 0) return {side, side};
  throw DataError(
      fmt::format("{}: its {} patches are no square: give the image it was trained with as model.image.height_pixels "
                  "and width_pixels ({} x {} pixels make {} patches)",
                  file_.path(), patches, config.height_pixels(), config.width_pixels(), rows * columns));
}

ModelConfig complete_from_published(const ModelConfig& config, const std::string& weights) {
  const auto all_set = [](const pb::Message& message) {
    std::vector<const pb::FieldDescriptor*> set;
    message.GetReflection()->ListFields(message, &set);
    return static_cast<int>(set.size()) == message.GetDescriptor()->field_count();
  };
  const bool complete =
      all_set(config.image()) && all_set(config.text()) && config.has_joint_width() && config.has_activation();
  if (complete || config.preset() != ModelConfig::CUSTOM) return config;
  ModelConfig completed = PublishedModel(weights).model();
  completed.MergeFrom(config);
  return completed;
}

}  // namespace muster
