// BERT against hidden states that transformers computed (tests/peers/make_bert_file.py).
#include "trainer/encoders/bert.h"

#include <gtest/gtest.h>

#include <ATen/core/grad_mode.h>

#include <map>
#include <string>

#include "dataloader/data_files.h"
#include "dataloader/tokenizer.h"
#include "launch/error.h"
#include "trainer/encoders/bert_weights.h"

namespace muster {
namespace {

const char* const kFile = MUSTER_SOURCE_DIR "/tests/golden/weights/bert/bert.safetensors";

BertSizes sizes(int64_t layers) {
  return {50, 12, 16, layers, 4, 24};
}

std::vector<std::string> load(Bert& bert, const BertSizes& bert_sizes, const std::string& path = kFile) {
  NamedTensors into;
  for (auto& parameter : bert.named_parameters()) into.emplace_back("text." + parameter.key(), parameter.value());
  return copy_bert(WeightFile(path), bert_sizes, "text.", into);
}

std::map<std::string, at::Tensor> expected(const std::string& path = kFile) {
  const WeightFile file(path);
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
    load(bert, sizes(layers));
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

// The pre-trained default of the demo, as the program has it beside itself (tests/peers/make_minilm_states.py).
TEST(BertTest, MiniLmsHiddenStatesAreTransformers) {
  const at::NoGradGuard no_grad;
  const auto truth = expected(MUSTER_SOURCE_DIR "/tests/golden/weights/bert/minilm_states.safetensors");
  const at::Tensor& tokens = truth.at("tokens");
  const std::vector<std::string> captions = {"A man in a red coat walks two small dogs along the beach.",
                                             "Unbelievably, skateboarders' kick-flips!", "dog",
                                             "Caf\u00e9 tables under striped umbrellas; rain, 3 o'clock"};
  const std::unique_ptr<Tokenizer> tokenizer = [] {
    TokenizerConfig config;
    config.set_kind(TokenizerConfig::WORDPIECE);
    return make_tokenizer(config);
  }();
  for (size_t i = 0; i < captions.size(); ++i) {
    std::vector<int64_t> ids(static_cast<size_t>(tokens.size(1)));
    tokenizer->encode(captions[i], ids.data(), tokens.size(1));
    const int64_t* theirs = tokens[static_cast<int64_t>(i)].const_data_ptr<int64_t>();
    EXPECT_EQ(ids, std::vector<int64_t>(theirs, theirs + tokens.size(1))) << captions[i];
  }
  for (const int64_t layers : {3, 6}) {
    const BertSizes minilm{30522, 512, 384, layers, 12, 1536};
    Initialiser initialiser(5);
    Bert bert(minilm, initialiser);
    const std::vector<std::string> spare = load(bert, minilm, default_data_file("minilm/model.safetensors"));
    if (layers == 6) {
      EXPECT_EQ(spare, (std::vector<std::string>{"pooler"}));
    }
    if (layers == 3) {
      EXPECT_EQ(spare, (std::vector<std::string>{"encoder.layer.3", "encoder.layer.4", "encoder.layer.5", "pooler"}));
    }
    const at::Tensor hidden = bert.forward(tokens, {}, 0);
    const at::Tensor& theirs = truth.at("hidden." + std::to_string(layers));
    ASSERT_EQ(hidden.sizes(), theirs.sizes());
    const std::vector<int64_t> counts = token_counts(tokens);
    for (int64_t row = 0; row < tokens.size(0); ++row) {
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
  load(bert, sizes(3));
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
    load(bert, wide);
    FAIL();
  } catch (const DataError& error) {
    EXPECT_NE(std::string(error.what()).find("intermediate.dense"), std::string::npos) << error.what();
  }
  Bert deep(sizes(4), initialiser);
  try {
    load(deep, sizes(4));
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
