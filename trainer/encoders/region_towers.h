// TERN's and TERAN's two towers (Messina et al., ACM TOMM 2021): image regions with their boxes, and word pieces. Each
// gives a feature of the whole and one for every region or word, in one joint space.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "trainer/encoders/bert.h"
#include "trainer/encoders/model_cost.h"
#include "trainer/encoders/post_norm.h"
#include "trainer/features.h"

namespace muster {

struct RegionTowerSizes {
  int64_t width = 2048;  // of a region's feature and of the tokens inside
  int64_t layers = 4;
  int64_t heads = 4;
  int64_t hidden = 2048;
  int64_t joint_width = 1024;
};

// Feature and box through two linear layers with ReLU between; a token of zeros for the whole before the regions;
// blocks; projection; the joint blocks.
class RegionTower : public torch::nn::Module {
 public:
  // `joint` is of joint_width; whoever makes the tower registers it, as both towers may share one.
  RegionTower(const RegionTowerSizes& sizes, std::shared_ptr<PostNormBlocks> joint, Initialiser& initialiser);

  // regions [sum of counts, width], boxes [sum of counts, kBoxNumbers], on the tower's device, and how many each image
  // has, 1 or more. Uses dropout_layers() from first_layer. What padding there is to the largest count changes nothing.
  SetOutputs forward(const at::Tensor& regions, const at::Tensor& boxes, const std::vector<int64_t>& counts,
                     const DropoutKey& dropout, uint32_t first_layer) const;
  uint32_t dropout_layers() const { return blocks_->dropout_layers() + joint_->dropout_layers(); }
  int64_t layers() const { return blocks_->layers(); }  // before the joint ones

 private:
  int64_t joint_width_;
  std::shared_ptr<Linear> expand_, contract_;
  std::shared_ptr<PostNormBlocks> blocks_;
  std::shared_ptr<Linear> projection_;
  std::shared_ptr<PostNormBlocks> joint_;
};

// BERT; projection; the joint blocks. The whole is [CLS], the words are the pieces between it and [SEP].
class WordTower : public torch::nn::Module {
 public:
  // `drop_last_word`: the last piece is no word (published code, where it is the full stop as a rule).
  WordTower(const BertSizes& sizes, int64_t joint_width, bool drop_last_word, std::shared_ptr<PostNormBlocks> joint,
            Initialiser& initialiser);

  // tokens [b, L] as Bert's. A caption may have no word.
  SetOutputs forward(const at::Tensor& tokens, const DropoutKey& dropout, uint32_t first_layer) const;
  uint32_t dropout_layers() const { return bert_->dropout_layers() + joint_->dropout_layers(); }
  int64_t layers() const { return bert_->layers(); }
  const at::Tensor& token_embedding() const { return bert_->token_embedding(); }

 private:
  int64_t joint_width_;
  bool drop_last_word_;
  std::shared_ptr<Bert> bert_;
  std::shared_ptr<Linear> projection_;
  std::shared_ptr<PostNormBlocks> joint_;
};

}  // namespace muster
