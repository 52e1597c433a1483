#include "trainer/heads/masked_words.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "dataloader/token_masking.h"
#include "trainer/encoders/host_to_device.h"
#include "trainer/heads/reconstruction_block.h"

namespace muster {
namespace {

// Streams of the first values, apart from the model's.
constexpr uint64_t kFirstTensor = uint64_t{1} << 32;

int64_t count_attention_heads(const MaskedWordsConfig& config, int64_t width) {
  return config.attention_heads() > 0 ? config.attention_heads() : std::max<int64_t>(1, width / 64);
}

// The captions of a batch with words masked.
struct Masked {
  at::Tensor tokens;            // [b, L]
  std::vector<int64_t> sample;  // of each masked word: its caption, its place there, its id
  std::vector<int64_t> place;
  std::vector<int64_t> word;
};

// Where the masked words of a batch are among the outputs of its captions' tokens.
struct Places {
  at::Tensor rows;    // [n] in the b * T
  at::Tensor sample;  // [n] whose word each is
  at::Tensor seen;    // [b, T] bool: tokens up to the end token
};

// Standard deviations of first values.
BlockScales scales_of(const MaskedWordsConfig& config, int64_t width) {
  const double inside = 1.0 / std::sqrt(static_cast<double>(width));
  return {inside, inside / std::sqrt(2.0 * config.blocks()), inside / std::sqrt(2.0)};
}

// Which words are masked and what is predicted of them, whatever they look at.
class MaskedWords : public Head {
 public:
  MaskedWords(const MaskedWordsConfig& config, ModelConfig::Activation activation, const Tokenizer::Ordinary& words,
              std::vector<int64_t> seen)
      : config_(config), activation_(activation), words_(words), seen_(std::move(seen)) {}

  std::string name() const override { return "masked_words"; }

  double weight(double epoch) const override {
    const double ramp = config_.ramp_epochs();
    return config_.weight() * (ramp > 0 ? std::min(1.0, epoch / ramp) : 1.0);
  }

  int64_t count(const Batch& batch, uint64_t seed) const override {
    return static_cast<int64_t>(mask(batch, seed).word.size());
  }

  at::Tensor sum(const Batch& batch, const Features& live, const at::Tensor& references, Model& model,
                 uint64_t seed) const override {
    const Masked masked = mask(batch, seed);
    if (masked.word.empty()) return at::zeros({}, bias_.options().requires_grad(false));
    Batch hidden = batch;
    hidden.tokens = masked.tokens;
    const at::Tensor outputs = text_tokens(hidden, model, seed);
    const int64_t tokens = outputs.size(1);
    std::vector<int64_t> rows;
    for (size_t i = 0; i < masked.word.size(); ++i) rows.push_back(masked.sample[i] * tokens + masked.place[i]);
    const at::Device device = outputs.device();
    const Places places{host_to_device(at::tensor(rows), device), host_to_device(at::tensor(masked.sample), device),
                        host_to_device(up_to_end(masked.tokens.narrow(1, 0, tokens)), device)};
    const at::Tensor met = meet(outputs, places, live, references);
    const at::Tensor x = norm_->forward(activate(dense_->forward(met), activation_));
    const at::Tensor logits = at::linear(x, weight_.defined() ? weight_ : model.token_embedding(), bias_);
    return at::cross_entropy_loss(logits.to(bias_.scalar_type()), host_to_device(targets(masked.word), device), {},
                                  at::Reduction::Sum);
  }

 protected:
  // From the captions' outputs [b, T, w] to those of the masked words [n, w].
  virtual at::Tensor meet(const at::Tensor& outputs, const Places& places, const Features& live,
                          const at::Tensor& references) const = 0;

  // The layers behind meet(); afterwards all layers are there, and biases are 0.
  void add_output(const ModelConfig& model, Initialiser& initialiser) {
    const int64_t width = model.joint_width();
    const BlockScales scales = scales_of(config_, width);
    const bool tied = config_.output() == MaskedWordsConfig::TIED;
    const int64_t hidden = tied ? model.text().width() : width;
    dense_ = register_module(
        "dense", std::make_shared<Linear>(initialiser.normal({hidden, width}, scales.expand), at::zeros({hidden})));
    norm_ = register_module("norm", std::make_shared<LayerNorm>(hidden));
    const int64_t outputs =
        config_.output() == MaskedWordsConfig::SEEN ? static_cast<int64_t>(seen_.size()) : model.text().vocabulary();
    if (!tied) weight_ = register_parameter("weight", initialiser.normal({outputs, hidden}, scales.output));
    bias_ = register_parameter("bias", at::zeros({outputs}));
    for (auto& parameter : named_parameters()) {
      const std::string& name = parameter.key();
      if (name.size() >= 4 && name.compare(name.size() - 4, 4, "bias") == 0) parameter.value().detach().zero_();
    }
  }

  const MaskedWordsConfig& config() const { return config_; }

 private:
  Masked mask(const Batch& batch, uint64_t seed) const {
    const TokenMasking masking{config_.mask_tokens(), config_.mask_share(), config_.random_share(), 0, true};
    const int64_t context = batch.tokens.size(1);
    Masked masked{batch.tokens.contiguous().clone(), {}, {}, {}};
    const std::unique_ptr<bool[]> hits(new bool[static_cast<size_t>(context)]);
    std::vector<int64_t> before(static_cast<size_t>(context));
    const at::Tensor positions = batch.position.contiguous();
    for (int64_t i = 0; i < batch.size(); ++i) {
      int64_t* ids = masked.tokens.data_ptr<int64_t>() + i * context;
      std::copy_n(ids, context, before.begin());
      const auto position = static_cast<uint64_t>(positions.const_data_ptr<int64_t>()[i]);
      mask_tokens(masking, words_, KeyedRandom(seed, position, Purpose::kMaskedWords), ids, context, hits.get());
      for (int64_t place = 0; place < context; ++place) {
        if (!hits[static_cast<size_t>(place)] || !predicted(before[static_cast<size_t>(place)])) continue;
        masked.sample.push_back(i);
        masked.place.push_back(place);
        masked.word.push_back(before[static_cast<size_t>(place)]);
      }
    }
    return masked;
  }

  at::Tensor text_tokens(const Batch& batch, Model& model, uint64_t seed) const {
    const at::AutoGradMode graph(at::GradMode::is_enabled() && !config_.detach_text());
    return model.text_tokens(batch, seed, config_.attend_padding());
  }

  // [b, T] bool: tokens up to the end token, which has the largest id.
  static at::Tensor up_to_end(const at::Tensor& tokens) {
    return at::arange(tokens.size(1), at::kLong).unsqueeze(0) <= tokens.argmax(1, true);
  }

  bool predicted(int64_t id) const {
    return config_.output() != MaskedWordsConfig::SEEN || std::binary_search(seen_.begin(), seen_.end(), id);
  }

  at::Tensor targets(std::vector<int64_t> words) const {
    if (config_.output() == MaskedWordsConfig::SEEN) {
      for (int64_t& word : words) word = std::lower_bound(seen_.begin(), seen_.end(), word) - seen_.begin();
    }
    return at::tensor(words);
  }

  MaskedWordsConfig config_;
  ModelConfig::Activation activation_;
  Tokenizer::Ordinary words_;
  std::vector<int64_t> seen_;
  std::shared_ptr<Linear> dense_;
  std::shared_ptr<LayerNorm> norm_;
  at::Tensor weight_, bias_;  // [outputs, hidden], undefined where it is the text tower's; [outputs]
};

class WordsOfReference : public MaskedWords {
 public:
  WordsOfReference(const MaskedWordsConfig& config, const ModelConfig& model, const Tokenizer::Ordinary& words,
                   std::vector<int64_t> seen, uint64_t seed)
      : MaskedWords(config, ModelConfig::GELU, words, std::move(seen)) {
    const int64_t width = model.joint_width(), tokens = config.reference_tokens();
    Initialiser initialiser(seed, kFirstTensor);
    const BlockOptions options{width, count_attention_heads(config, width), ModelConfig::GELU, scales_of(config, width),
                               /*causal=*/false};
    if (tokens > 1) {
      const at::Tensor weight = initialiser.normal({tokens * width, width}, options.scales.attention);
      reference_tokens_ =
          register_module("reference_tokens", std::make_shared<Linear>(weight, at::zeros({tokens * width})));
    }
    reference_norm_ = register_module("reference_norm", std::make_shared<LayerNorm>(width));
    for (int i = 0; i < config.blocks(); ++i) {
      blocks_.push_back(register_module("block" + std::to_string(i),
                                        std::make_shared<ReconstructionBlock>(options, tokens > 1, initialiser)));
    }
    add_output(model, initialiser);
  }

  bool needs_references() const override { return true; }

 protected:
  at::Tensor meet(const at::Tensor& outputs, const Places& places, const Features& /*live*/,
                  const at::Tensor& references) const override {
    const at::Tensor tokens = reference_tokens_ ? reference_tokens_->forward(references) : references;
    const at::Tensor context = reference_norm_->forward(tokens.view({references.size(0), -1, references.size(1)}));
    at::Tensor x = outputs;
    for (size_t i = 0; i + 1 < blocks_.size(); ++i) x = blocks_[i]->forward(x, context, places.seen);
    return blocks_.back()->forward_rows(x, context, places.seen, places.rows, places.sample);
  }

 private:
  std::shared_ptr<Linear> reference_tokens_;  // none for one token
  std::shared_ptr<LayerNorm> reference_norm_;
  std::vector<std::shared_ptr<ReconstructionBlock>> blocks_;
};

class WordsOfImage : public MaskedWords {
 public:
  WordsOfImage(const MaskedWordsConfig& config, const ModelConfig& model, const Tokenizer::Ordinary& words,
               std::vector<int64_t> seen, uint64_t seed)
      : MaskedWords(config, ModelConfig::QUICK_GELU, words, std::move(seen)) {
    const int64_t width = model.joint_width();
    Initialiser initialiser(seed, kFirstTensor);
    const BlockOptions options{width, count_attention_heads(config, width), ModelConfig::QUICK_GELU,
                               scales_of(config, width), /*causal=*/false};
    image_norm_ = register_module("image_norm", std::make_shared<LayerNorm>(width));
    cross_ = register_module("cross", std::make_shared<ContextAttention>(options, /*chooses=*/true, initialiser));
    blocks_ = register_module("blocks", std::make_shared<Blocks>(config.blocks(), options, initialiser));
    blocks_norm_ = register_module("blocks_norm", std::make_shared<LayerNorm>(width));
    add_output(model, initialiser);
  }

  bool needs_references() const override { return false; }
  TokenRequest tokens() const override {
    TokenRequest request;
    request.image = true;
    return request;
  }

 protected:
  at::Tensor meet(const at::Tensor& outputs, const Places& places, const Features& live,
                  const at::Tensor& /*references*/) const override {
    const at::Tensor met = cross_->forward(outputs, image_norm_->forward(live.image_tokens));
    const at::Tensor seen = config().attend_padding() ? at::Tensor() : places.seen;
    return blocks_norm_->forward(blocks_->forward(met, {}, 0, places.rows, seen));
  }

 private:
  std::shared_ptr<LayerNorm> image_norm_;
  std::shared_ptr<ContextAttention> cross_;
  std::shared_ptr<Blocks> blocks_;
  std::shared_ptr<LayerNorm> blocks_norm_;
};

}  // namespace

void check_masked_words(const MaskedWordsConfig& config, const ModelConfig& model, const TextTransformConfig& text,
                        Checks& checks) {
  const std::string path = "heads.masked_words.";
  checks.at_least(0.0, path + "weight", config.weight(), "0: no such head");
  checks.at_least(0.0, path + "ramp_epochs", config.ramp_epochs());
  checks.require(config.mask_tokens() >= 0 && config.mask_tokens() <= 1, path + "mask_tokens", config.mask_tokens(),
                 "0 to 1");
  const double shares = config.mask_share() + config.random_share();
  checks.require(config.mask_share() >= 0 && config.random_share() >= 0 && shares <= 1 + 1e-9,
                 path + "mask_share + random_share", shares, "0 or more each, at most 1 together");
  checks.require(config.blocks() >= 1 && config.blocks() <= 4, path + "blocks", config.blocks(), "1 to 4");
  checks.require(config.reference_tokens() >= 1 && config.reference_tokens() <= 64, path + "reference_tokens",
                 config.reference_tokens(), "1 to 64");
  if (config.context() == MaskedWordsConfig::IMAGE && config.reference_tokens() != 1) {
    checks.add(path + "reference_tokens is for context REFERENCE: leave it out");
  }
  if (config.context() == MaskedWordsConfig::REFERENCE && config.attend_padding()) {
    checks.add(path + "attend_padding is for context IMAGE: leave it out");
  }
  if (config.weight() > 0 && (text.mask_tokens() > 0 || text.mask_nouns() > 0 || text.mask_one())) {
    checks.add(
        "heads.masked_words predicts the caption's own words, and data.text.mask_tokens, mask_nouns or mask_one "
        "overwrites them: "
        "set one of the two to 0");
  }
  checks.at_least(0, path + "attention_heads", config.attention_heads(), "0: joint_width / 64");
  if (!model.has_joint_width() || config.attention_heads() < 0) return;
  const int64_t heads = count_attention_heads(config, model.joint_width());
  if (model.joint_width() % heads != 0) {
    checks.add(
        fmt::format("{}attention_heads ({}) must divide model.joint_width ({})", path, heads, model.joint_width()));
  }
}

std::shared_ptr<Head> make_masked_words(const MaskedWordsConfig& config, const ModelConfig& model,
                                        const Tokenizer::Ordinary& words, std::vector<int64_t> seen, uint64_t seed) {
  if (config.context() == MaskedWordsConfig::IMAGE) {
    return std::make_shared<WordsOfImage>(config, model, words, std::move(seen), seed);
  }
  return std::make_shared<WordsOfReference>(config, model, words, std::move(seen), seed);
}

}  // namespace muster
