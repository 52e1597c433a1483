#include "trainer/backward_order.h"

#include <ATen/SequenceNumber.h>
#include <torch/csrc/autograd/function.h>

#include <unordered_set>

namespace muster {
namespace {

using torch::autograd::Node;

std::vector<Node*> nodes_of(const std::vector<at::Tensor>& outputs) {
  std::unordered_set<Node*> seen;
  std::vector<Node*> nodes;
  const auto add = [&](Node* node) {
    if (node != nullptr && seen.insert(node).second) nodes.push_back(node);
  };
  for (const at::Tensor& output : outputs) add(output.grad_fn().get());
  for (size_t i = 0; i < nodes.size(); ++i) {
    for (const auto& edge : nodes[i]->next_edges()) add(edge.function.get());
  }
  return nodes;
}

}  // namespace

BackwardOrder::BackwardOrder() : first_(at::sequence_number::peek()), second_(first_) {}

void BackwardOrder::second_begins() {
  second_ = at::sequence_number::peek();
}

void BackwardOrder::exchange(const std::vector<at::Tensor>& outputs) const {
  const uint64_t end = at::sequence_number::peek();
  for (Node* node : nodes_of(outputs)) {
    const uint64_t number = node->sequence_nr();
    if (number >= first_ && number < second_) node->set_sequence_nr(number + (end - second_));
    if (number >= second_ && number < end) node->set_sequence_nr(number - (second_ - first_));
  }
}

}  // namespace muster
