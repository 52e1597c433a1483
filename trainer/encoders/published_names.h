// What published CLIP files call the tensors of a dual encoder, and how they lie there.
#pragma once

#include <string>
#include <vector>

namespace muster {

enum class NameStyle {
  kClip,          // OpenAI's (github.com/openai/CLIP, model.py), which open_clip and IRRA share
  kTransformers,  // transformers' CLIPModel
};

// One tensor of a file and its place in ours.
struct PublishedTensor {
  enum class Form {
    kSame,
    kConvolution,  // [width, 3, p, p]; ours is [width, 3 * p * p], in the same order
    kTransposed,   // [out, in]; ours is [in, out]
    kThird,        // one of three equal parts of our first dimension: query, key, value
  };
  std::string theirs, ours;
  Form form = Form::kSame;
  int part = 0;  // of kThird
};

// Of a model with so many layers. The objective's scale and bias, which a file may lack, stand last.
std::vector<PublishedTensor> published_tensors(NameStyle style, int image_layers, int text_layers);

// Their name of one of our tensors outside the blocks.
std::string published_name(NameStyle style, const std::string& ours);

// The first tensor of a tower's block, by which the blocks can be counted. `tower`: "image" or "text".
std::string published_block(NameStyle style, const std::string& tower, int layer);

// Tensors beside the weights, which a model can do without: sizes, numbers of positions.
bool is_no_weight(NameStyle style, const std::string& theirs);

}  // namespace muster
