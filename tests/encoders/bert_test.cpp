// BERT against hidden states that transformers computed (tests/peers/make_bert_file.py).
#include "trainer/encoders/bert.h"

#include <gtest/gtest.h>

#include <ATen/core/grad_mode.h>

#include <map>
#include <string>

#include "launch/error.h"

namespace muster {
namespace {

const char* const kFile = MUSTER_SOURCE_DIR "/tests/golden/weights/bert/bert.safetensors";

BertSizes sizes(int64_t layers) {
  return {50, 12, 16, layers, 4, 24};
}

std::map<std::string, at::Tensor> expected() {
  const WeightFile file(kFile);
  std::map<std::string, at::Tensor> tensors;
  std::vector<size_t> wanted;
  for (size_t i = 0; i < file.tensors().size(); ++i) {
    if (file.tensors()[i].name == "tokens" || file.tensors()[i].name.rfind("hidden.", 0) == 0) wanted.push_back(i);
  }
  file.read(wanted, [&](size_t i, const at::Tensor& tensor) { tensors[file.tensors()[i].name] = tensor.clone(); });
  return tensors;
}

TEST(BertTest, HiddenStatesOfEveryDepthAreTransformers) {
  const at::NoGradGuard no_grad;
  const auto truth = expected();
  const std::vector<int64_t> counts = token_counts(truth.at("tokens"));
  EXPECT_EQ(counts, (std::vector<int64_t>{10, 3, 7, 2, 9}));
  for (int64_t layers = 0; layers <= 3; ++layers) {
    Initialiser initialiser(5);
    Bert bert(sizes(layers), initialiser);
    bert.load(WeightFile(kFile));
    const at::Tensor hidden = bert.forward(truth.at("tokens"), {}, 0);
    const at::Tensor& theirs = truth.at("hidden." + std::to_string(layers));
    ASSERT_EQ(hidden.sizes(), theirs.sizes());
    for (int64_t row = 0; row < 5; ++row) {
      const int64_t count = counts[static_cast<size_t>(row)];
      const at::Tensor error = (hidden[row].narrow(0, 0, count) - theirs[row].narrow(0, 0, count)).abs();
      EXPECT_LE(error.max().item<double>(), 1e-5) << layers << " layers, caption " << row;
    }
  }
}

TEST(BertTest, PaddingChangesNothing) {
  const at::NoGradGuard no_grad;
  const auto truth = expected();
  Initialiser initialiser(5);
  Bert bert(sizes(3), initialiser);
  bert.load(WeightFile(kFile));
  const at::Tensor alone = bert.forward(truth.at("tokens").narrow(0, 1, 1), {}, 0);
  ASSERT_EQ(alone.size(1), 3);
  const at::Tensor among = bert.forward(truth.at("tokens"), {}, 0)[1].narrow(0, 0, 3);
  EXPECT_LE((alone[0] - among).abs().max().item<double>(), 1e-6);
}

TEST(BertTest, AnotherShapeIsRefusedByName) {
  Initialiser initialiser(5);
  BertSizes wide = sizes(3);
  wide.hidden = 32;
  Bert bert(wide, initialiser);
  try {
    bert.load(WeightFile(kFile));
    FAIL();
  } catch (const DataError& error) {
    EXPECT_NE(std::string(error.what()).find("intermediate.dense"), std::string::npos) << error.what();
  }
  Bert deep(sizes(4), initialiser);
  try {
    deep.load(WeightFile(kFile));
    FAIL();
  } catch (const DataError& error) {
    EXPECT_NE(std::string(error.what()).find("has no encoder.layer.3."), std::string::npos) << error.what();
  }
}

TEST(BertTest, ATokenBeyondTheVocabularyIsRefused) {
  Initialiser initialiser(5);
  const Bert bert(sizes(1), initialiser);
  const at::Tensor tokens = expected().at("tokens").clone();
  tokens[2][1].fill_(50);
  EXPECT_THROW(bert.forward(tokens, {}, 0), ConfigError);
}

}  // namespace
}  // namespace muster
