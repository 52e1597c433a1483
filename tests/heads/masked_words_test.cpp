// The masked-words head, of either context, against its formula, written once more sample by sample, and against finite
// differences.
#include "trainer/heads/masked_words.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "comm/thread_communicator.h"
#include "dataloader/token_masking.h"
#include "trainer/encoders/model_config.h"
#include "trainer/heads/head_losses.h"

namespace muster {
namespace {

constexpr int64_t kWidth = 12, kContext = 16, kVocabulary = 60, kEnd = 59, kStart = 58, kMask = 57;
constexpr uint64_t kSeed = 5;
const Tokenizer::Ordinary kWords = {1, 50, kMask};

// Outputs of tokens: a table's rows plus their places', so that the head meets something of its own gradient.
class TableModel : public Model {
 public:
  TableModel() {
    at::Generator generator = at::detail::createCPUGenerator(3);
    table_ = register_parameter("table", at::randn({kVocabulary, kWidth}, generator, at::kDouble));
    places_ = register_parameter("places", at::randn({kContext, kWidth}, generator, at::kDouble));
  }
  ForwardPass begin_forward(const Batch&, uint64_t, const TokenRequest&) override { return {}; }
  at::Tensor encode_image(const Batch& batch) override { return batch.images; }
  at::Tensor encode_text(const at::Tensor& tokens) override { return tokens; }
  at::Tensor text_tokens(const Batch& batch, uint64_t, bool padding) override {
    const int64_t used = padding ? kContext : batch.tokens.argmax(1).max().item<int64_t>() + 1;
    return at::embedding(table_, batch.tokens.narrow(1, 0, used)) + places_.narrow(0, 0, used);
  }
  at::Tensor image_tokens(const Batch& batch, const at::Tensor&, uint64_t) override { return batch.images; }
  at::Tensor token_embedding() const override { return table_; }
  std::map<std::string, int64_t> layers_above() const override { return {}; }

 private:
  at::Tensor table_, places_;
};

ModelConfig model_config() {
  ModelConfig config;
  config.set_preset(ModelConfig::MINI);
  config.set_joint_width(kWidth);
  config.mutable_text()->set_context(kContext);
  config.mutable_text()->set_width(kWidth);
  config.mutable_text()->set_heads(2);
  config.mutable_text()->set_vocabulary(kVocabulary);
  return resolve_model(config);
}

MaskedWordsConfig parse(const std::string& text) {
  MaskedWordsConfig config;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString("weight: 1 " + text, &config));
  return config;
}

std::vector<int64_t> seen_words() {
  std::vector<int64_t> seen;
  for (int64_t id = kWords.first; id < kWords.end; ++id) {
    if (id % 7 != 0) seen.push_back(id);
  }
  return seen;
}

std::shared_ptr<Head> make_head(const std::string& text) {
  auto head = make_masked_words(parse(text), model_config(), kWords, seen_words(), kSeed);
  head->to(at::kDouble);
  // Values that leave nothing near zero or one, biases and gains included.
  const at::NoGradGuard no_grad;
  at::Generator generator = at::detail::createCPUGenerator(9);
  for (auto& parameter : head->parameters()) parameter.add_(at::randn(parameter.sizes(), generator, at::kDouble) * 0.3);
  return head;
}

Batch make_batch(int64_t rows) {
  at::Generator generator = at::detail::createCPUGenerator(17);
  Batch batch;
  batch.tokens = at::zeros({rows, kContext}, at::kLong);
  batch.position = at::randint(0, 1000000, {rows}, generator, at::kLong);
  batch.identity = batch.position;
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t words = 1 + (row * 5) % (kContext - 2);
    batch.tokens[row][0].fill_(kStart);
    batch.tokens[row].narrow(0, 1, words).copy_(at::randint(1, 50, {words}, generator, at::kLong));
    batch.tokens[row][words + 1].fill_(kEnd);
  }
  return batch;
}

at::Tensor references_of(int64_t rows) {
  at::Generator generator = at::detail::createCPUGenerator(23);
  const at::Tensor drawn = at::randn({rows, kWidth}, generator, at::kDouble);
  return drawn / drawn.norm(2, {1}, true);
}

// What the model's own pass gives of the images.
Features features_of(int64_t rows) {
  at::Generator generator = at::detail::createCPUGenerator(29);
  Features live;
  live.image_tokens = at::randn({rows, 5, kWidth}, generator, at::kDouble);
  return live;
}

Features rows_of(const Features& live, int64_t first, int64_t rows) {
  Features part;
  part.image_tokens = live.image_tokens.narrow(0, first, rows);
  return part;
}

// The head's parameters by name, and the formula.
class Formula {
 public:
  Formula(const Head& head, const MaskedWordsConfig& config) : config_(config) {
    for (const auto& parameter : head.named_parameters()) values_[parameter.key()] = parameter.value();
  }

  at::Tensor sum(const Batch& batch, const Features& live, const at::Tensor& references, TableModel& model) const {
    at::Tensor total = at::zeros({}, at::kDouble);
    for (int64_t row = 0; row < batch.size(); ++row) {
      total = total + sample(batch, row, live.image_tokens[row], references[row], model);
    }
    return total;
  }

 private:
  at::Tensor at_name(const std::string& name) const { return values_.at(name); }
  at::Tensor linear(const std::string& name, const at::Tensor& x) const {
    return at::matmul(x, at_name(name + ".weight").t()) + at_name(name + ".bias");
  }
  at::Tensor norm(const std::string& name, const at::Tensor& x) const {
    return at::layer_norm(x, {x.size(-1)}, at_name(name + ".weight"), at_name(name + ".bias"), 1e-5);
  }
  bool looks_at_image() const { return config_.context() == MaskedWordsConfig::IMAGE; }
  at::Tensor activate(const at::Tensor& x) const {
    return looks_at_image() ? x / (1 + (-1.702 * x).exp()) : at::gelu(x);
  }
  at::Tensor mlp(const std::string& name, const at::Tensor& x) const {
    return linear(name + ".contract", activate(linear(name + ".expand", x)));
  }
  at::Tensor self_attention(const std::string& block, const at::Tensor& x) const {
    const at::Tensor qkv = linear(block + ".attention.qkv", norm(block + ".attention_norm", x));
    const auto part = [&](int64_t which) { return qkv.narrow(1, which * kWidth, kWidth); };
    return linear(block + ".attention.output", attention(part(0), part(1), part(2)));
  }
  int64_t heads() const { return config_.attention_heads() > 0 ? config_.attention_heads() : 1; }

  // [n, w], [T, w], [T, w] -> [n, w], a head a time.
  at::Tensor attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value) const {
    std::vector<at::Tensor> parts;
    const int64_t each = kWidth / heads();
    for (int64_t head = 0; head < heads(); ++head) {
      const auto cut = [&](const at::Tensor& x) { return x.narrow(1, head * each, each); };
      const at::Tensor scores = at::matmul(cut(query), cut(key).t()) / std::sqrt(static_cast<double>(each));
      parts.push_back(at::matmul(at::softmax(scores, 1), cut(value)));
    }
    return at::cat(parts, 1);
  }

  at::Tensor context_attention(const std::string& name, const at::Tensor& x, const at::Tensor& context) const {
    const at::Tensor value = linear(name + ".value", context);
    at::Tensor query, key;
    if (config_.reference_tokens() > 1) {
      query = linear(name + ".query", norm(name + ".norm", x));
      key = linear(name + ".key", context);
    } else {  // whatever queries and keys are
      query = x * 3 + 1;
      key = context * 2 - 5;
    }
    return linear(name + ".output", attention(query, key, value));
  }

  // MMRef's.
  at::Tensor meet_reference(at::Tensor x, const at::Tensor& reference) const {
    at::Tensor context = reference.unsqueeze(0);
    if (config_.reference_tokens() > 1) context = linear("reference_tokens", context).view({-1, kWidth});
    context = norm("reference_norm", context);
    for (int i = 0; i < config_.blocks(); ++i) {
      const std::string block = "block" + std::to_string(i);
      x = x + self_attention(block + ".self", x);
      x = x + mlp(block + ".self.mlp", norm(block + ".self.mlp_norm", x));
      x = x + context_attention(block + ".context", x, context);
      x = x + mlp(block + ".mlp", norm(block + ".mlp_norm", x));
    }
    return x;
  }

  // IRRA's.
  at::Tensor meet_image(const at::Tensor& words, const at::Tensor& image) const {
    const at::Tensor seen = norm("image_norm", image);
    at::Tensor x = linear("cross.output", attention(linear("cross.query", norm("cross.norm", words)),
                                                    linear("cross.key", seen), linear("cross.value", seen)));
    for (int i = 0; i < config_.blocks(); ++i) {
      const std::string block = "blocks." + std::to_string(i);
      x = x + self_attention(block, x);
      x = x + mlp(block + ".mlp", norm(block + ".mlp_norm", x));
    }
    return norm("blocks_norm", x);
  }

  at::Tensor sample(const Batch& batch, int64_t row, const at::Tensor& image, const at::Tensor& reference,
                    TableModel& model) const {
    const TokenMasking masking{config_.mask_tokens(), config_.mask_share(), config_.random_share(), 0, true};
    Batch one = batch;
    one.tokens = batch.tokens.narrow(0, row, 1).clone();
    bool hits[kContext];
    mask_tokens(masking, kWords,
                KeyedRandom(kSeed, static_cast<uint64_t>(batch.position[row].item<int64_t>()), Purpose::kMaskedWords),
                one.tokens.data_ptr<int64_t>(), kContext, hits);
    // Of this caption alone: nothing after its end, unless padding counts.
    const at::Tensor words = model.text_tokens(one, 0, config_.attend_padding())[0];
    at::Tensor x = looks_at_image() ? meet_image(words, image) : meet_reference(words, reference);
    x = norm("norm", activate(linear("dense", x)));
    const bool tied = config_.output() == MaskedWordsConfig::TIED;
    const at::Tensor logits =
        at::log_softmax(at::matmul(x, (tied ? model.token_embedding() : at_name("weight")).t()) + at_name("bias"), 1);
    at::Tensor sum = at::zeros({}, at::kDouble);
    const std::vector<int64_t> seen = seen_words();
    for (int64_t place = 0; place < kContext; ++place) {
      int64_t target = batch.tokens[row][place].item<int64_t>();
      if (config_.output() == MaskedWordsConfig::SEEN) {
        const auto found = std::find(seen.begin(), seen.end(), target);
        target = found == seen.end() ? -1 : found - seen.begin();
      }
      if (hits[place] && target >= 0) sum = sum - logits[place][target];
    }
    return sum;
  }

  MaskedWordsConfig config_;
  std::map<std::string, at::Tensor> values_;
};

const char* const kConfigs[] = {
    "mask_tokens: 0.4",
    "mask_tokens: 0.4 blocks: 3 attention_heads: 3",
    "mask_tokens: 0.4 blocks: 2 reference_tokens: 3 attention_heads: 2 output: ALL",
    "mask_tokens: 0.3 reference_tokens: 2 attention_heads: 4 output: TIED mask_share: 0.2 random_share: 0.5",
    "mask_tokens: 0.4 context: IMAGE",
    "mask_tokens: 0.4 context: IMAGE blocks: 3 attention_heads: 3 output: ALL attend_padding: true",
    "mask_tokens: 0.3 context: IMAGE blocks: 2 attention_heads: 2 output: TIED",
};

TEST(MaskedWords, SumIsTheFormulas) {
  const Batch batch = make_batch(9);
  for (const char* const config : kConfigs) {
    const std::shared_ptr<Head> head = make_head(config);
    TableModel model;
    const at::Tensor references = references_of(9);
    const Features live = features_of(9);
    const double got = head->sum(batch, live, references, model, kSeed).item<double>();
    const double expected = Formula(*head, parse(config)).sum(batch, live, references, model).item<double>();
    EXPECT_NEAR(got, expected, 1e-12 * expected) << config;
    EXPECT_GT(expected, 1) << config;
  }
}

// Central differences of every reference and of some of each parameter's values, the text tower's included.
TEST(MaskedWords, GradientsEqualFiniteDifferences) {
  const Batch batch = make_batch(3);
  for (const char* const config : kConfigs) {
    const std::shared_ptr<Head> head = make_head(config);
    TableModel model;
    at::Tensor references = references_of(3);
    references.requires_grad_();
    const Features live = features_of(3);
    live.image_tokens.requires_grad_();
    head->sum(batch, live, references, model, kSeed).backward();
    std::vector<std::pair<std::string, at::Tensor>> all = {
        head->needs_references() ? std::pair<std::string, at::Tensor>{"references", references}
                                 : std::pair<std::string, at::Tensor>{"image tokens", live.image_tokens}};
    for (auto& parameter : head->named_parameters()) all.emplace_back(parameter.key(), parameter.value());
    for (auto& parameter : model.named_parameters()) all.emplace_back(parameter.key(), parameter.value());
    const at::NoGradGuard no_grad;
    const auto value = [&] { return head->sum(batch, live, references, model, kSeed).item<double>(); };
    double largest = 0;
    for (const auto& [name, tensor] : all) {
      ASSERT_TRUE(tensor.grad().defined()) << name << " has no part in it: " << config;
      largest = std::max(largest, tensor.grad().abs().max().item<double>());
    }
    constexpr double kStep = 1e-5;
    for (const auto& [name, tensor] : all) {
      const int64_t stride = name == "references" ? 1 : std::max<int64_t>(1, tensor.numel() / 3);
      const at::Tensor flat = tensor.detach().view({-1}), gradient = tensor.grad().reshape({-1});
      for (int64_t i = 0; i < flat.numel(); i += stride) {
        const double before = flat[i].item<double>();
        flat[i].fill_(before + kStep);
        const double up = value();
        flat[i].fill_(before - kStep);
        const double down = value();
        flat[i].fill_(before);
        EXPECT_NEAR((up - down) / (2 * kStep), gradient[i].item<double>(), 1e-6 * largest)
            << name << "[" << i << "], " << config;
      }
    }
  }
}

TEST(MaskedWords, DetachedTextGetsNoGradient) {
  const std::shared_ptr<Head> head = make_head("detach_text: true");
  TableModel model;
  at::Tensor references = references_of(4);
  references.requires_grad_();
  head->sum(make_batch(4), {}, references, model, kSeed).backward();
  EXPECT_GT(references.grad().abs().max().item<double>(), 0);
  for (const auto& parameter : model.parameters()) EXPECT_FALSE(parameter.grad().defined());
}

class MaskedWordsIn : public testing::TestWithParam<const char*> {};

// Nothing but the ordinary tokens, one at least of each caption, and the same whatever stands beside it in the batch.
TEST_P(MaskedWordsIn, MasksAreThoseOfTheSample) {
  const std::shared_ptr<Head> head = make_head(GetParam());
  TableModel model;
  const Batch batch = make_batch(40);
  const at::Tensor references = references_of(40);
  const Features live = features_of(40);
  int64_t count = 0;
  double sum = 0;
  for (int64_t row = 0; row < 40; ++row) {
    Batch one;
    one.tokens = batch.tokens.narrow(0, row, 1);
    one.position = batch.position.narrow(0, row, 1);
    const int64_t words = head->count(one, kSeed);
    EXPECT_GE(words, 1);
    count += words;
    sum += head->sum(one, rows_of(live, row, 1), references.narrow(0, row, 1), model, kSeed).item<double>();
  }
  EXPECT_EQ(head->count(batch, kSeed), count);
  EXPECT_NEAR(head->sum(batch, live, references, model, kSeed).item<double>(), sum, 1e-12 * sum);
  EXPECT_NE(head->sum(batch, live, references, model, kSeed + 1).item<double>(), sum);
}

INSTANTIATE_TEST_SUITE_P(Contexts, MaskedWordsIn,
                         testing::Values("output: ALL", "output: ALL context: IMAGE",
                                         "output: ALL context: IMAGE attend_padding: true"));

TEST(MaskedWords, ACaptionWithoutWordsAddsNothing) {
  for (const char* const context : {"", "context: IMAGE"}) {
    const std::shared_ptr<Head> head = make_head(context);
    TableModel model;
    Batch batch = make_batch(1);
    batch.tokens.zero_();
    batch.tokens[0][0].fill_(kStart);
    batch.tokens[0][1].fill_(kEnd);
    EXPECT_EQ(head->count(batch, kSeed), 0);
    EXPECT_EQ(head->sum(batch, features_of(1), references_of(1), model, kSeed).item<double>(), 0);
  }
}

TEST(TokenMasking, SharesAreThoseAskedFor) {
  const TokenMasking masking{0.15, 0.8, 0.1, 0, true};
  int64_t words = 0, hit = 0, masked = 0, random = 0, stayed = 0;
  for (uint64_t position = 0; position < 4000; ++position) {
    int64_t ids[kContext] = {kStart, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, kEnd};
    int64_t before[kContext];
    std::copy_n(ids, kContext, before);
    bool hits[kContext];
    mask_tokens(masking, kWords, KeyedRandom(1, position, Purpose::kMaskedWords), ids, kContext, hits);
    int64_t here = 0;
    for (int64_t place = 0; place < kContext; ++place) {
      const bool word = place >= 1 && place <= 11;
      ASSERT_TRUE(word || (!hits[place] && ids[place] == before[place]));
      ASSERT_TRUE(hits[place] || ids[place] == before[place]);
      words += word;
      here += hits[place];
      if (!hits[place]) continue;
      (ids[place] == kMask ? masked : ids[place] == before[place] ? stayed : random)++;
    }
    EXPECT_GE(here, 1);
    hit += here;
  }
  // Where none of 11 is hit (0.85^11 of the captions), the first becomes the mask.
  const double none = std::pow(0.85, 11), captions = 4000;
  const auto share = [](int64_t part, double whole) { return static_cast<double>(part) / whole; };
  EXPECT_NEAR(share(hit, static_cast<double>(words)), 0.15 + none / 11, 0.005);
  const double drawn = static_cast<double>(hit) - none * captions;
  EXPECT_NEAR((static_cast<double>(masked) - none * captions) / drawn, 0.8, 0.02);
  EXPECT_NEAR(share(random, drawn), 0.1, 0.015);
  EXPECT_NEAR(share(stayed, drawn), 0.1, 0.015);
}

// Means over ranks and cuts are those of the whole.
TEST(HeadLosses, AnyCutGivesTheSameMeansAndGradients) {
  const Batch batch = make_batch(11);
  const std::string config = "mask_tokens: 0.3 ramp_epochs: 2";
  const at::Tensor references = references_of(11);
  TableModel whole_model;
  const std::shared_ptr<Head> whole = make_head(config);
  at::Tensor leaf = references.clone().requires_grad_();
  const at::Tensor mean =
      whole->sum(batch, {}, leaf, whole_model, kSeed) / static_cast<double>(whole->count(batch, kSeed));
  mean.backward();
  for (int ranks = 1; ranks <= 4; ++ranks) {
    run_ranks(ranks, [&](Communicator& communicator) {
      const std::vector<int64_t> rows = ranks == 3 ? std::vector<int64_t>{0, 11, 0} : split_rows(11, ranks);
      int64_t first = 0;
      for (int r = 0; r < communicator.rank(); ++r) first += rows[static_cast<size_t>(r)];
      const int64_t count = rows[static_cast<size_t>(communicator.rank())];
      const auto cut = [&](int64_t begin, int64_t size) {
        Batch part;
        part.tokens = batch.tokens.narrow(0, first + begin, size);
        part.position = batch.position.narrow(0, first + begin, size);
        return part;
      };
      TableModel model;
      HeadLosses losses({make_head(config)}, model, communicator);
      losses.begin(cut(0, count), 1, kSeed, references.narrow(0, first, count).clone());
      const int64_t half = count / 2;
      for (const auto& [begin, size] : {std::pair{int64_t{0}, half}, std::pair{half, count - half}}) {
        const at::Tensor loss = losses.forward(cut(begin, size), {}, begin);
        EXPECT_EQ(loss.defined(), size > 0);
        if (loss.defined()) loss.backward();
      }
      const HeadValues values = losses.finish();
      EXPECT_NEAR(values.means.at(0), mean.item<double>(), 1e-12 * mean.item<double>());
      EXPECT_NEAR(values.weighted, 0.5 * mean.item<double>(), 1e-12);  // half of the ramp
      const at::Tensor expected = leaf.grad().narrow(0, first, count) * 0.5;
      if (count > 0) {
        EXPECT_LE((losses.reference_gradients() - expected).abs().max().item<double>(), 1e-13);
      }
    });
  }
}

TEST(HeadLosses, AWeightOfZeroGivesTheValueAlone) {
  run_ranks(1, [&](Communicator& communicator) {
    TableModel model;
    HeadLosses losses({make_head("ramp_epochs: 2")}, model, communicator);
    const Batch batch = make_batch(3);
    losses.begin(batch, 0, kSeed, references_of(3));
    EXPECT_FALSE(losses.forward(batch, {}, 0).defined());
    const HeadValues values = losses.finish();
    EXPECT_GT(values.means.at(0), 0);
    EXPECT_EQ(values.weighted, 0);
    EXPECT_EQ(losses.reference_gradients().abs().max().item<double>(), 0);
  });
}

}  // namespace
}  // namespace muster
