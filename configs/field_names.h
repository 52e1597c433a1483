// The names of a message's fields, for errors that help.
#pragma once

#include <google/protobuf/descriptor.h>

#include <string>
#include <vector>

namespace muster {

// Where `message` sits below `root`, in dots: "train.optimizer" for OptimizerConfig below RunConfig; "" for the root.
std::string path_of(const google::protobuf::Descriptor& message, const google::protobuf::Descriptor& root);

// `unknown field "wamup_steps" in train.schedule: did you mean "warmup_steps"?`. A name that stands elsewhere below
// `root` is given with its path.
std::string describe_unknown_field(const std::string& field, const google::protobuf::Descriptor& message,
                                   const google::protobuf::Descriptor& root);

// "a whole number (int64)", "one of COSINE, CONSTANT": what the field takes.
std::string describe_type(const google::protobuf::FieldDescriptor& field);

}  // namespace muster
