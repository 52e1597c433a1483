#include "trainer/encoders/region_config.h"

#include <fmt/format.h>

#include <string>

#include "trainer/encoders/size_list.h"

namespace muster {
namespace {

constexpr int64_t kFloat = 4, kHalf = 2;

struct Stack {
  int64_t layers, width, heads, hidden;
};

Stack image_stack(const ModelConfig& config) {
  const RegionModelConfig& regions = config.regions();
  return {regions.layers(), regions.width(), regions.heads(), regions.hidden()};
}
Stack joint_stack(const ModelConfig& config) {
  const RegionModelConfig& regions = config.regions();
  return {regions.joint_layers(), config.joint_width(), regions.joint_heads(), regions.joint_hidden()};
}
Stack text_stack(const ModelConfig& config) {
  const BertSizes sizes = bert_sizes(config);
  return {sizes.layers, sizes.width, sizes.heads, sizes.hidden};
}

double stack_flop(const Stack& stack, int64_t tokens) {
  const auto w = static_cast<double>(stack.width), h = static_cast<double>(stack.hidden);
  const auto t = static_cast<double>(tokens);
  return static_cast<double>(stack.layers) * ((8 * w * w + 4 * w * h) * t + 4 * w * t * t);
}

double linear_flop(int64_t out, int64_t in, int64_t tokens) {
  return 2 * static_cast<double>(out) * static_cast<double>(in) * static_cast<double>(tokens);
}

// Inputs of the products, of the norms and of the activation, and heads' log-sums.
int64_t stack_bytes(const Stack& stack, int64_t tokens, int64_t product, bool dropout, bool hidden_dropout) {
  const int64_t numbers = 6 * stack.width + 2 * stack.hidden;
  const int64_t norms = 2 * (stack.width + 2) * kFloat, log_sums = kFloat * stack.heads;
  const int64_t masks = dropout ? 2 * stack.width + (hidden_dropout ? stack.hidden : 0) : 0;
  return stack.layers * tokens * (product * (numbers + masks) + norms + log_sums);
}

void add_blocks(SizeList& sizes, const std::string& name, const Stack& stack) {
  for (int64_t i = 0; i < stack.layers; ++i) {
    const std::string block = fmt::format("{}.{}", name, i);
    sizes.linear(block + ".attention.qkv", 3 * stack.width, stack.width);
    sizes.linear(block + ".attention.output", stack.width, stack.width);
    sizes.norm(block + ".attention_norm", stack.width);
    sizes.linear(block + ".expand", stack.hidden, stack.width);
    sizes.linear(block + ".contract", stack.width, stack.hidden);
    sizes.norm(block + ".mlp_norm", stack.width);
  }
}

TowerFlop both_ways(double forward, double inputs) {
  TowerFlop flop;
  flop.forward = flop.whole_forward = forward;
  flop.backward = 2 * forward - inputs;  // nothing goes back to what was read
  return flop;
}

}  // namespace

RegionTowerSizes tower_sizes(const ModelConfig& config) {
  const Stack stack = image_stack(config);
  return {stack.width, stack.layers, stack.heads, stack.hidden, config.joint_width()};
}

BertSizes bert_sizes(const ModelConfig& config) {
  const TextConfig& text = config.text();
  const int64_t hidden = config.regions().text_hidden();
  return {text.vocabulary(), config.regions().text_positions(),
          text.width(),      text.layers(),
          text.heads(),      hidden > 0 ? hidden : 4 * int64_t{text.width()}};
}

PostNormOptions joint_options(const ModelConfig& config) {
  const Stack stack = joint_stack(config);
  return {stack.width, stack.heads, stack.hidden};
}

std::vector<ParameterSize> region_parameter_sizes(const ModelConfig& config) {
  SizeList sizes;
  const Stack joint = joint_stack(config);
  const bool shared = config.regions().shared_joint();
  add_blocks(sizes, shared ? "joint" : "image_joint", joint);
  if (!shared) add_blocks(sizes, "text_joint", joint);
  const int64_t width = config.regions().width();
  sizes.linear("image.expand", width, width + kBoxNumbers);
  sizes.linear("image.contract", width, width);
  add_blocks(sizes, "image.blocks", image_stack(config));
  sizes.linear("image.projection", config.joint_width(), width);
  const BertSizes bert = bert_sizes(config);
  sizes.add("text.bert.token_embedding", bert.vocabulary * bert.width);
  sizes.add("text.bert.position_embedding", bert.positions * bert.width);
  sizes.add("text.bert.type_embedding", 2 * bert.width);
  sizes.norm("text.bert.embedding_norm", bert.width);
  add_blocks(sizes, "text.bert.blocks", text_stack(config));
  sizes.linear("text.projection", config.joint_width(), bert.width);
  return sizes.take();
}

TowerFlop region_flop(const ModelConfig& config) {
  const int64_t width = config.regions().width(), tokens = 1 + kUsualRegions;
  const double first = linear_flop(width, width + kBoxNumbers, kUsualRegions);
  return both_ways(first + linear_flop(width, width, kUsualRegions) + stack_flop(image_stack(config), tokens) +
                       linear_flop(config.joint_width(), width, tokens) + stack_flop(joint_stack(config), tokens),
                   first);
}

TowerFlop word_flop(const ModelConfig& config, int64_t tokens) {
  return both_ways(stack_flop(text_stack(config), tokens) +
                       linear_flop(config.joint_width(), config.text().width(), tokens) +
                       stack_flop(joint_stack(config), tokens),
                   0);
}

int64_t region_activation_bytes(const ModelConfig& config, int64_t rows, int64_t tokens, bool bf16) {
  const int64_t product = bf16 ? kHalf : kFloat, joint = config.joint_width(), width = config.regions().width();
  const bool dropout = config.dropout() > 0;
  const int64_t regions = rows * (1 + kUsualRegions), words = rows * tokens;
  const int64_t images = stack_bytes(image_stack(config), regions, product, dropout, true) +
                         stack_bytes(joint_stack(config), regions, product, dropout, true) +
                         regions * (product * (3 * width + kBoxNumbers + joint) + kFloat * joint);
  const int64_t texts = stack_bytes(text_stack(config), words, product, dropout, false) +
                        stack_bytes(joint_stack(config), words, product, dropout, true) +
                        words * (product * (2 * int64_t{config.text().width()} + joint) + kFloat * joint);
  return images + texts;
}

}  // namespace muster
