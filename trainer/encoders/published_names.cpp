#include "trainer/encoders/published_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

namespace muster {
namespace {

using Form = PublishedTensor::Form;

struct Name {
  const char* theirs;
  const char* ours;
  Form form = Form::kSame;
  int part = 0;
};

struct Style {
  std::vector<Name> outside;  // of the blocks
  std::vector<Name> block;    // within one
  const char* image_block;
  const char* text_block;
  std::vector<std::string> beside;
};

const Style& style_of(NameStyle style) {
  static const Style clip{{{"visual.class_embedding", "image.class_embedding"},
                           {"visual.conv1.weight", "image.patch.weight", Form::kConvolution},
                           {"visual.positional_embedding", "image.position_embedding"},
                           {"visual.ln_pre.weight", "image.pre_norm.weight"},
                           {"visual.ln_pre.bias", "image.pre_norm.bias"},
                           {"visual.ln_post.weight", "image.post_norm.weight"},
                           {"visual.ln_post.bias", "image.post_norm.bias"},
                           {"visual.proj", "image.projection"},
                           {"token_embedding.weight", "text.token_embedding"},
                           {"positional_embedding", "text.position_embedding"},
                           {"ln_final.weight", "text.final_norm.weight"},
                           {"ln_final.bias", "text.final_norm.bias"},
                           {"text_projection", "text.projection"}},
                          {{"ln_1.weight", "attention_norm.weight"},
                           {"ln_1.bias", "attention_norm.bias"},
                           {"attn.in_proj_weight", "attention.qkv.weight"},
                           {"attn.in_proj_bias", "attention.qkv.bias"},
                           {"attn.out_proj.weight", "attention.output.weight"},
                           {"attn.out_proj.bias", "attention.output.bias"},
                           {"ln_2.weight", "mlp_norm.weight"},
                           {"ln_2.bias", "mlp_norm.bias"},
                           {"mlp.c_fc.weight", "mlp.expand.weight"},
                           {"mlp.c_fc.bias", "mlp.expand.bias"},
                           {"mlp.c_proj.weight", "mlp.contract.weight"},
                           {"mlp.c_proj.bias", "mlp.contract.bias"}},
                          "visual.transformer.resblocks.{}.",
                          "transformer.resblocks.{}.",
                          {"input_resolution", "context_length", "vocab_size"}};
  static const Style transformers{
      {{"vision_model.embeddings.class_embedding", "image.class_embedding"},
       {"vision_model.embeddings.patch_embedding.weight", "image.patch.weight", Form::kConvolution},
       {"vision_model.embeddings.position_embedding.weight", "image.position_embedding"},
       {"vision_model.pre_layrnorm.weight", "image.pre_norm.weight"},
       {"vision_model.pre_layrnorm.bias", "image.pre_norm.bias"},
       {"vision_model.post_layernorm.weight", "image.post_norm.weight"},
       {"vision_model.post_layernorm.bias", "image.post_norm.bias"},
       {"visual_projection.weight", "image.projection", Form::kTransposed},
       {"text_model.embeddings.token_embedding.weight", "text.token_embedding"},
       {"text_model.embeddings.position_embedding.weight", "text.position_embedding"},
       {"text_model.final_layer_norm.weight", "text.final_norm.weight"},
       {"text_model.final_layer_norm.bias", "text.final_norm.bias"},
       {"text_projection.weight", "text.projection", Form::kTransposed}},
      {{"layer_norm1.weight", "attention_norm.weight"},
       {"layer_norm1.bias", "attention_norm.bias"},
       {"self_attn.q_proj.weight", "attention.qkv.weight", Form::kThird, 0},
       {"self_attn.k_proj.weight", "attention.qkv.weight", Form::kThird, 1},
       {"self_attn.v_proj.weight", "attention.qkv.weight", Form::kThird, 2},
       {"self_attn.q_proj.bias", "attention.qkv.bias", Form::kThird, 0},
       {"self_attn.k_proj.bias", "attention.qkv.bias", Form::kThird, 1},
       {"self_attn.v_proj.bias", "attention.qkv.bias", Form::kThird, 2},
       {"self_attn.out_proj.weight", "attention.output.weight"},
       {"self_attn.out_proj.bias", "attention.output.bias"},
       {"layer_norm2.weight", "mlp_norm.weight"},
       {"layer_norm2.bias", "mlp_norm.bias"},
       {"mlp.fc1.weight", "mlp.expand.weight"},
       {"mlp.fc1.bias", "mlp.expand.bias"},
       {"mlp.fc2.weight", "mlp.contract.weight"},
       {"mlp.fc2.bias", "mlp.contract.bias"}},
      "vision_model.encoder.layers.{}.",
      "text_model.encoder.layers.{}.",
      {"vision_model.embeddings.position_ids", "text_model.embeddings.position_ids"}};
  return style == NameStyle::kClip ? clip : transformers;
}

void add_blocks(const Style& style, const char* tower, const char* their_block, int layers,
                std::vector<PublishedTensor>& tensors) {
  for (int layer = 0; layer < layers; ++layer) {
    for (const Name& name : style.block) {
      tensors.push_back({fmt::format(fmt::runtime(their_block), layer) + name.theirs,
                         fmt::format("{}.blocks.{}.{}", tower, layer, name.ours), name.form, name.part});
    }
  }
}

}  // namespace

std::vector<PublishedTensor> published_tensors(NameStyle style, int image_layers, int text_layers) {
  const Style& names = style_of(style);
  std::vector<PublishedTensor> tensors;
  for (const Name& name : names.outside) tensors.push_back({name.theirs, name.ours, name.form, name.part});
  add_blocks(names, "image", names.image_block, image_layers, tensors);
  add_blocks(names, "text", names.text_block, text_layers, tensors);
  tensors.push_back({"logit_scale", "objective.log_scale"});
  tensors.push_back({"logit_bias", "objective.logit_bias"});
  return tensors;
}

std::string published_name(NameStyle style, const std::string& ours) {
  for (const Name& name : style_of(style).outside) {
    if (name.ours == ours) return name.theirs;
  }
  throw std::logic_error("published_name: " + ours + " is no tensor outside the blocks");
}

std::string published_block(NameStyle style, const std::string& tower, int layer) {
  const Style& names = style_of(style);
  return fmt::format(fmt::runtime(tower == "image" ? names.image_block : names.text_block), layer) +
         names.block.front().theirs;
}

bool is_no_weight(NameStyle style, const std::string& theirs) {
  const std::vector<std::string>& beside = style_of(style).beside;
  return std::find(beside.begin(), beside.end(), theirs) != beside.end();
}

}  // namespace muster
