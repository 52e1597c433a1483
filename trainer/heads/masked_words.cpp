#include "trainer/heads/masked_words.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/index_select.h>
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

class MaskedWords : public Head {
 public:
  MaskedWords(const MaskedWordsConfig& config, const ModelConfig& model, const Tokenizer::Ordinary& words,
              std::vector<int64_t> seen, uint64_t seed)
      : config_(config), words_(words), seen_(std::move(seen)) {
    const int64_t width = model.joint_width(), tokens = config.reference_tokens();
    const bool tied = config.output() == MaskedWordsConfig::TIED;
    const int64_t hidden = tied ? model.text().width() : width;
    const double inside = 1.0 / std::sqrt(static_cast<double>(width));
    const double out = inside / std::sqrt(2.0 * config.blocks());
    Initialiser initialiser(seed, kFirstTensor);
    if (tokens > 1) {
      reference_tokens_ = register_module(
          "reference_tokens",
          std::make_shared<Linear>(initialiser.normal({tokens * width, width}, inside), at::zeros({tokens * width})));
    }
    reference_norm_ = register_module("reference_norm", std::make_shared<LayerNorm>(width));
    const BlockOptions options{width,
                               count_attention_heads(config, width),
                               ModelConfig::GELU,
                               {inside, out, inside / std::sqrt(2.0)},
                               /*causal=*/false};
    for (int i = 0; i < config.blocks(); ++i) {
      blocks_.push_back(register_module("block" + std::to_string(i),
                                        std::make_shared<ReconstructionBlock>(options, tokens > 1, initialiser)));
    }
    dense_ = register_module(
        "dense",
        std::make_shared<Linear>(initialiser.normal({hidden, width}, inside / std::sqrt(2.0)), at::zeros({hidden})));
    norm_ = register_module("norm", std::make_shared<LayerNorm>(hidden));
    const int64_t outputs =
        config.output() == MaskedWordsConfig::SEEN ? static_cast<int64_t>(seen_.size()) : model.text().vocabulary();
    if (!tied) weight_ = register_parameter("weight", initialiser.normal({outputs, hidden}, out));
    bias_ = register_parameter("bias", at::zeros({outputs}));
    for (auto& parameter : named_parameters()) {
      const std::string& name = parameter.key();
      if (name.size() >= 4 && name.compare(name.size() - 4, 4, "bias") == 0) parameter.value().detach().zero_();
    }
  }

  std::string name() const override { return "masked_words"; }
  bool needs_references() const override { return true; }

  double weight(double epoch) const override {
    const double ramp = config_.ramp_epochs();
    return config_.weight() * (ramp > 0 ? std::min(1.0, epoch / ramp) : 1.0);
  }

  int64_t count(const Batch& batch, uint64_t seed) const override {
    return static_cast<int64_t>(mask(batch, seed).word.size());
  }

  at::Tensor sum(const Batch& batch, const Features&, const at::Tensor& references, Model& model,
                 uint64_t seed) const override {
    const Masked masked = mask(batch, seed);
    if (masked.word.empty()) return at::zeros({}, references.options().requires_grad(false));
    Batch hidden = batch;
    hidden.tokens = masked.tokens;
    at::Tensor x = text_tokens(hidden, model, seed);
    const int64_t tokens = x.size(1);
    std::vector<int64_t> rows;
    for (size_t i = 0; i < masked.word.size(); ++i) rows.push_back(masked.sample[i] * tokens + masked.place[i]);
    const at::Device device = x.device();
    const at::Tensor seen = host_to_device(up_to_end(masked.tokens.narrow(1, 0, tokens)), device);
    const at::Tensor context = reference_context(references);
    const at::Tensor sample = host_to_device(at::tensor(masked.sample), device);
    const at::Tensor hits = host_to_device(at::tensor(rows), device);
    for (size_t i = 0; i < blocks_.size(); ++i) {
      const bool last = i + 1 == blocks_.size();
      x = last ? blocks_[i]->forward_rows(x, context, seen, hits, sample) : blocks_[i]->forward(x, context, seen);
    }
    x = norm_->forward(at::gelu(dense_->forward(x)));
    const at::Tensor logits = at::linear(x, weight_.defined() ? weight_ : model.token_embedding(), bias_);
    return at::cross_entropy_loss(logits.to(bias_.scalar_type()), host_to_device(targets(masked.word), device), {},
                                  at::Reduction::Sum);
  }

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
    return model.text_tokens(batch, seed);
  }

  // [b, T] bool: tokens up to the end token, which has the largest id.
  static at::Tensor up_to_end(const at::Tensor& tokens) {
    return at::arange(tokens.size(1), at::kLong).unsqueeze(0) <= tokens.argmax(1, true);
  }

  // [b, d] -> [b, reference tokens, d]
  at::Tensor reference_context(const at::Tensor& references) const {
    const int64_t width = references.size(1);
    const at::Tensor tokens = reference_tokens_ ? reference_tokens_->forward(references) : references;
    return reference_norm_->forward(tokens.view({references.size(0), -1, width}));
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
  Tokenizer::Ordinary words_;
  std::vector<int64_t> seen_;
  std::shared_ptr<Linear> reference_tokens_;  // none for one token
  std::shared_ptr<LayerNorm> reference_norm_;
  std::vector<std::shared_ptr<ReconstructionBlock>> blocks_;
  std::shared_ptr<Linear> dense_;
  std::shared_ptr<LayerNorm> norm_;
  at::Tensor weight_, bias_;  // [outputs, hidden], undefined where it is the text tower's; [outputs]
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
  return std::make_shared<MaskedWords>(config, model, words, std::move(seen), seed);
}

}  // namespace muster
