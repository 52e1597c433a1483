// How texts that are not gathered come to the ranks that need them, and their gradients go home.
//
// Columns are the rows of all ranks' texts in rank order, which each rank has some of.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "comm/communicator.h"

namespace muster {

// Whose the columns are.
struct ColumnRows {
  std::vector<int64_t> of_rank;
  int64_t first = 0;  // this rank's first one
};

// The ranks as a ring around which their columns travel: each rank has its own at hand first, then those of the rank
// before it, and so on. Every rank has a part in each call.
class ColumnRing {
 public:
  // own: this rank's columns [n, d].
  ColumnRing(const at::Tensor& own, const ColumnRows& columns, Communicator& communicator);

  // visit(rank, its columns [of_rank[rank], d]) for all ranks; the next ones come meanwhile, so that those of two ranks
  // are held beside this one's own. Collective.
  using Visit = std::function<void(size_t rank, const at::Tensor& rows)>;
  void pass(const Visit& visit) const;

  // The same; gradient(rank, its columns) is this rank's part of their gradient, and the result [n, d] the sum over
  // ranks for this rank's own: its own part, then that of the rank after it, and so on. Collective.
  using Gradient = std::function<at::Tensor(size_t rank, const at::Tensor& rows)>;
  at::Tensor sum_gradient(const Gradient& gradient) const;

 private:
  at::Tensor own_;
  std::vector<int64_t> of_rank_;
  Communicator& communicator_;
};

// Between this rank and the owners of some columns.
class ColumnRoute {
 public:
  // index: those columns, ascending. Collective.
  ColumnRoute(const std::vector<int64_t>& index, const ColumnRows& columns, Communicator& communicator);

  // Those columns [index.size(), d], where each rank gives its own [n, d]. Collective.
  at::Tensor fetch(const at::Tensor& own) const;

  // Of a gradient of which each rank has a part of those columns [index.size(), d]: the sum for this rank's own [n, d],
  // added up in the ranks' order. Collective.
  at::Tensor bring_home(const at::Tensor& rows) const;

 private:
  Communicator& communicator_;
  int64_t own_;
  std::vector<int64_t> away_;    // how many of each rank's rows this one deals with
  std::vector<int64_t> asking_;  // how many of its own each rank deals with
  at::Tensor places_;            // which of its own those are, rank by rank
};

}  // namespace muster
