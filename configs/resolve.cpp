#include <google/protobuf/descriptor.h>

#include <array>

#include "configs/load.h"
#include "trainer/encoders/model_config.h"
#include "trainer/encoders/published_model.h"

namespace muster {
namespace {

namespace pb = google::protobuf;

// OpenAI's CLIP (github.com/openai/CLIP, clip.py).
constexpr std::array<float, 3> kMean = {0.48145466F, 0.4578275F, 0.40821073F};
constexpr std::array<float, 3> kStd = {0.26862954F, 0.26130258F, 0.27577711F};

void set_default(pb::Message& message, const pb::FieldDescriptor& field) {
  const pb::Reflection& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case pb::FieldDescriptor::CPPTYPE_INT32:
      return reflection.SetInt32(&message, &field, field.default_value_int32());
    case pb::FieldDescriptor::CPPTYPE_INT64:
      return reflection.SetInt64(&message, &field, field.default_value_int64());
    case pb::FieldDescriptor::CPPTYPE_UINT32:
      return reflection.SetUInt32(&message, &field, field.default_value_uint32());
    case pb::FieldDescriptor::CPPTYPE_UINT64:
      return reflection.SetUInt64(&message, &field, field.default_value_uint64());
    case pb::FieldDescriptor::CPPTYPE_FLOAT:
      return reflection.SetFloat(&message, &field, field.default_value_float());
    case pb::FieldDescriptor::CPPTYPE_DOUBLE:
      return reflection.SetDouble(&message, &field, field.default_value_double());
    case pb::FieldDescriptor::CPPTYPE_BOOL:
      return reflection.SetBool(&message, &field, field.default_value_bool());
    case pb::FieldDescriptor::CPPTYPE_STRING:
      return reflection.SetString(&message, &field, field.default_value_string());
    case pb::FieldDescriptor::CPPTYPE_ENUM:
      return reflection.SetEnum(&message, &field, field.default_value_enum());
    case pb::FieldDescriptor::CPPTYPE_MESSAGE:
      return;
  }
}

// Sets each field whose .proto states a default and that is not given. Messages come into being, members of a oneof
// do not.
void set_defaults(pb::Message& message) {
  const pb::Reflection& reflection = *message.GetReflection();
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const pb::FieldDescriptor& field = *message.GetDescriptor()->field(i);
    const bool is_message = field.cpp_type() == pb::FieldDescriptor::CPPTYPE_MESSAGE;
    if (field.is_repeated()) {
      for (int j = 0; is_message && j < reflection.FieldSize(message, &field); ++j) {
        set_defaults(*reflection.MutableRepeatedMessage(&message, &field, j));
      }
    } else if (is_message) {
      const bool wanted = field.real_containing_oneof() == nullptr || reflection.HasField(message, &field);
      if (wanted) set_defaults(*reflection.MutableMessage(&message, &field));
    } else if (field.has_default_value() && !reflection.HasField(message, &field)) {
      set_default(message, field);
    }
  }
}

}  // namespace

RunConfig resolve_run_config(const RunConfig& config) {
  RunConfig resolved = config;
  // The field's default is AdamW's; plain SGD decays only if told to.
  OptimizerConfig& optimizer = *resolved.mutable_train()->mutable_optimizer();
  if (optimizer.kind() == OptimizerConfig::SGD && !optimizer.has_weight_decay()) optimizer.set_weight_decay(0);
  set_defaults(resolved);
  ImageTransformConfig& image = *resolved.mutable_data()->mutable_image();
  if (image.mean().empty() && image.std().empty()) {
    for (const float value : kMean) image.add_mean(value);
    for (const float value : kStd) image.add_std(value);
  }
  DataConfig& data = *resolved.mutable_data();
  if (data.sampler().kind_case() == SamplerConfig::KIND_NOT_SET) data.mutable_sampler()->mutable_uniform();
  if (data.train_splits().empty()) data.add_train_splits(DataConfig::TRAIN);
  const std::string& weights = resolved.train().init().weights();
  if (!weights.empty() && !has_sets(resolved.model()))
    *resolved.mutable_model() = complete_from_published(resolved.model(), weights);
  *resolved.mutable_model() = resolve_model(resolved.model());
  // Scores of regions and words are made on the CPU.
  TrainConfig& train = *resolved.mutable_train();
  if (has_sets(resolved.model()) && train.device() == TrainConfig::AUTO) train.set_device(TrainConfig::CPU);
  return resolved;
}

}  // namespace muster
