// Which of two parts of a forward goes back first.
//
// Autograd goes back through what was computed last first. The step encodes texts before images, so that text features
// travel meanwhile; but their gradients should come first all the same: buckets of gradients are filled, and start to
// travel, from the last parameters on (comm/buckets.h), and what nothing hides is the last bucket's way, which should
// not be that of the large token embedding. So the two parts' places in autograd's order are exchanged: backward then
// does what it would do had the images been encoded first, bit for bit.
//
// Any order is right (autograd follows the graph, the order only decides between what is ready); this one is fast.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace muster {

// For one thread, and a graph that this thread has made: constructed, second_begins(), exchange().
class BackwardOrder {
 public:
  BackwardOrder();  // the first part begins
  void second_begins();
  // Both are done: in the graphs that end in `outputs`, whatever the second part made comes before what the first made.
  void exchange(const std::vector<at::Tensor>& outputs) const;

 private:
  uint64_t first_;
  uint64_t second_;
};

}  // namespace muster
