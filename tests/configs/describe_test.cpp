// muster config: every field below the run config is described from its .proto, whoever added it.
#include "configs/describe.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "configs/run.pb.h"
#include "launch/error.h"

namespace muster {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using testing::HasSubstr;

std::vector<std::string> leaves_of(const Descriptor& message, const std::string& path) {
  std::vector<std::string> leaves;
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor& field = *message.field(i);
    const std::string name = path + field.name() + (field.is_repeated() ? "[]" : "");
    if (field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
      leaves.push_back(name);
      continue;
    }
    const std::vector<std::string> below = leaves_of(*field.message_type(), name + ".");
    leaves.insert(leaves.end(), below.begin(), below.end());
  }
  return leaves;
}

std::string with_indices(std::string path) {
  for (size_t at = path.find("[]"); at != std::string::npos; at = path.find("[]")) path.replace(at, 2, "[0]");
  return path;
}

std::string error_of(const std::string& path) {
  try {
    describe_field(path);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "none";
}

TEST(DescribeFields, ListsEveryFieldOnce) {
  const std::string all = "\n" + describe_all_fields();
  for (const std::string& leaf : leaves_of(*RunConfig::descriptor(), "")) {
    EXPECT_THAT(all, HasSubstr("\n" + leaf + " "));
  }
}

TEST(DescribeFields, EveryFieldHasAMeaning) {
  for (const std::string& leaf : leaves_of(*RunConfig::descriptor(), "")) {
    const std::string text = describe_field(with_indices(leaf));
    EXPECT_THAT(text, HasSubstr("\n    ")) << leaf << " has no comment in its .proto file";
  }
}

TEST(DescribeFields, ShowsTypeDefaultAndMeaning) {
  EXPECT_EQ(describe_field("train.clip_norm"),
            "train.clip_norm  double  [0]\n    Gradients are scaled down to this global norm; 0: never.\n");
  EXPECT_EQ(describe_field("train.steps"), "train.steps  int64\n    One of the two.\n");
  EXPECT_THAT(describe_field("data.image.mean"), HasSubstr("data.image.mean  list of float\n"));
}

TEST(DescribeFields, ShowsTheValuesOfAnEnum) {
  const std::string text = describe_field("train.optimizer.kind");
  EXPECT_THAT(text, HasSubstr("train.optimizer.kind  Kind  [ADAMW]\n"));
  EXPECT_THAT(text, HasSubstr("    ADAMW: decoupled weight decay (Loshchilov and Hutter, 2019)\n"));
  EXPECT_THAT(text, HasSubstr("    SGD: "));
}

TEST(DescribeFields, ShowsAMessageWithItsFieldsAndChoices) {
  const std::string term = describe_field("objective.term[0]");
  EXPECT_THAT(term, HasSubstr("  weight "));
  EXPECT_THAT(term, HasSubstr("  loss: one of\n"));
  EXPECT_THAT(term, HasSubstr("    sdm "));
  EXPECT_THAT(term, HasSubstr("KL(p || q)"));  // the message's own comment serves the field
  EXPECT_THAT(describe_field("objective.term[1].sdm.epsilon"), HasSubstr("double  [1e-08]"));
}

TEST(DescribeFields, AWrongNameIsMetWithNearOnes) {
  EXPECT_EQ(error_of("train.schedule.wamup_steps"),
            "unknown field \"wamup_steps\" in train.schedule: did you mean \"warmup_steps\"?");
  EXPECT_THAT(error_of("optimzer"), HasSubstr("unknown field \"optimzer\""));
  EXPECT_EQ(error_of("train.seed.x"), "train.seed has no fields; it is a whole number from 0 up (uint64)");
  EXPECT_THAT(error_of(""), HasSubstr("no field is named"));
  EXPECT_THAT(error_of("train..seed"), HasSubstr("unknown field \"\""));
}

}  // namespace
}  // namespace muster
