#include "trainer/heads/head_losses.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <utility>

namespace muster {

std::string parameter_prefix(const Head& head) {
  return kHeadsPrefix + head.name() + ".";
}

HeadLosses::HeadLosses(Heads heads, Model& model, Communicator& communicator)
    : heads_(std::move(heads)), model_(model), communicator_(communicator) {}

bool HeadLosses::need_references() const {
  return std::any_of(heads_.begin(), heads_.end(), [](const auto& head) { return head->needs_references(); });
}

TokenRequest HeadLosses::tokens() const {
  TokenRequest all;
  for (const auto& head : heads_) {
    all.text |= head->tokens().text;
    all.padding |= head->tokens().padding;
    all.image |= head->tokens().image;
  }
  return all;
}

std::vector<std::string> HeadLosses::names() const {
  std::vector<std::string> names;
  for (const auto& head : heads_) names.push_back(head->name());
  return names;
}

void HeadLosses::begin(const Batch& batch, double epoch, uint64_t seed, const at::Tensor& references) {
  seed_ = seed;
  references_ = references;
  if (references_.defined()) references_.requires_grad_();
  sums_ = at::zeros({static_cast<int64_t>(heads_.size())}, at::TensorOptions(at::kDouble).device(model_.device()));
  weights_.clear();
  const at::Tensor counts = at::empty({static_cast<int64_t>(heads_.size())}, at::kLong);
  for (size_t i = 0; i < heads_.size(); ++i) {
    weights_.push_back(heads_[i]->weight(epoch));
    counts.data_ptr<int64_t>()[i] = batch.size() == 0 ? 0 : heads_[i]->count(batch, seed);
  }
  communicator_.all_reduce(counts, ReduceOp::kSum, "heads.counts").wait();
  const int64_t* data = counts.const_data_ptr<int64_t>();
  counts_.assign(data, data + counts.size(0));
  factors_.clear();
  for (size_t i = 0; i < heads_.size(); ++i) factors_.push_back(counts_[i] > 0 ? weights_[i] / counts_[i] : 0.0);
}

at::Tensor HeadLosses::forward(const Batch& rows, const Features& live, int64_t first) {
  at::Tensor weighted;
  for (size_t i = 0; i < heads_.size() && rows.size() > 0; ++i) {
    const at::AutoGradMode graph(factors_[i] > 0);  // a weight of 0: the value alone
    at::Tensor references;
    if (heads_[i]->needs_references()) references = references_.narrow(0, first, rows.size()).to(model_.device());
    const at::Tensor sum = heads_[i]->sum(rows, live, references, model_, seed_);
    sums_.select(0, static_cast<int64_t>(i)).add_(sum.detach());
    if (!sum.requires_grad()) continue;
    weighted = weighted.defined() ? weighted + sum * factors_[i] : sum * factors_[i];
  }
  return weighted;
}

at::Tensor HeadLosses::rehearse(const Batch& rows, const Features& live, const at::Tensor& references,
                                uint64_t seed) const {
  at::Tensor total;
  for (const auto& head : heads_) {
    const at::Tensor sum = head->sum(rows, live, head->needs_references() ? references : at::Tensor(), model_, seed);
    if (sum.requires_grad()) total = total.defined() ? total + sum : sum;
  }
  return total;
}

at::Tensor HeadLosses::reference_gradients() const {
  if (!references_.defined()) return {};
  return references_.grad().defined() ? references_.grad() : at::zeros_like(references_).detach();
}

HeadValues HeadLosses::finish() {
  sums_ = sums_.to(at::kCPU);
  communicator_.all_reduce(sums_, ReduceOp::kSum, "heads.sums").wait();
  HeadValues values;
  for (size_t i = 0; i < heads_.size(); ++i) {
    values.means.push_back(sums_.const_data_ptr<double>()[i] / std::max(counts_[i], 1.0));
    values.weighted += weights_[i] * values.means.back();
  }
  return values;
}

}  // namespace muster
