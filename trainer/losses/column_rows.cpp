#include "trainer/losses/column_rows.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "trainer/losses/global_batch.h"

namespace muster {
namespace {

// The rank so many places after this one.
size_t rank_after(const Communicator& communicator, int places) {
  const int size = communicator.size();
  return static_cast<size_t>((communicator.rank() + places % size + size) % size);
}

// Rows for or from one rank alone.
std::vector<int64_t> only(size_t rank, int64_t rows, size_t ranks) {
  std::vector<int64_t> of_rank(ranks, 0);
  of_rank[rank] = rows;
  return of_rank;
}

}  // namespace

ColumnRing::ColumnRing(const at::Tensor& own, const ColumnRows& columns, Communicator& communicator)
    : own_(own), of_rank_(columns.of_rank), communicator_(communicator) {}

void ColumnRing::pass(const Visit& visit) const {
  const size_t ranks = of_rank_.size(), next = rank_after(communicator_, 1), last = rank_after(communicator_, -1);
  const at::Tensor rooms =
      at::empty({2, *std::max_element(of_rank_.begin(), of_rank_.end()), own_.size(1)}, own_.options());
  at::Tensor rows = own_;
  for (int step = 0; step < communicator_.size(); ++step) {
    const size_t owner = rank_after(communicator_, -step), coming = rank_after(communicator_, -step - 1);
    at::Tensor arrived;
    Work work;
    if (step + 1 < communicator_.size()) {
      arrived = rooms[step % 2].narrow(0, 0, of_rank_[coming]);
      work = communicator_.all_to_all(arrived, rows, only(next, of_rank_[owner], ranks),
                                      only(last, of_rank_[coming], ranks), "loss.text");
    }
    visit(owner, rows);
    work.wait();
    rows = arrived;
  }
}

at::Tensor ColumnRing::sum_gradient(const Gradient& gradient) const {
  const size_t ranks = of_rank_.size(), self = rank_after(communicator_, 0);
  at::Tensor sum, arrived, sent;
  Work work;
  int step = 0;
  const auto add = [&] {
    work.wait();
    if (arrived.defined()) sum.add_(arrived);
  };
  pass([&](size_t owner, const at::Tensor& rows) {
    const at::Tensor part = gradient(owner, rows);
    if (step == 0) {
      sum = part;
    } else {
      add();
      sent = part;
      arrived = at::empty_like(sum);
      work =
          communicator_.all_to_all(arrived, sent, only(owner, of_rank_[owner], ranks),
                                   only(rank_after(communicator_, step), of_rank_[self], ranks), "loss.text_gradient");
    }
    ++step;
  });
  add();
  return sum;
}

ColumnRoute::ColumnRoute(const std::vector<int64_t>& index, const ColumnRows& columns, Communicator& communicator)
    : communicator_(communicator), own_(columns.of_rank[static_cast<size_t>(communicator.rank())]) {
  const auto ranks = static_cast<int64_t>(columns.of_rank.size());
  const at::Tensor counts = at::empty({1, ranks}, at::kLong);
  const at::Tensor asked = at::empty({static_cast<int64_t>(index.size())}, at::kLong);
  auto next = index.begin();
  int64_t first = 0;
  for (const int64_t rows : columns.of_rank) {
    const auto begin = next;
    next = std::lower_bound(begin, index.end(), first + rows);
    std::transform(begin, next, asked.data_ptr<int64_t>() + (begin - index.begin()),
                   [&](int64_t row) { return row - first; });
    counts.data_ptr<int64_t>()[away_.size()] = next - begin;
    away_.push_back(next - begin);
    first += rows;
  }
  const std::vector<int64_t> one(columns.of_rank.size(), 1);
  const at::Tensor all = gather_rows(counts, one, communicator, "loss.text_counts");
  for (int64_t rank = 0; rank < ranks; ++rank) {
    asking_.push_back(all.const_data_ptr<int64_t>()[rank * ranks + communicator.rank()]);
  }
  places_ = at::empty({std::accumulate(asking_.begin(), asking_.end(), int64_t{0})}, at::kLong);
  communicator.all_to_all(places_, asked, away_, asking_, "loss.text_places").wait();
}

at::Tensor ColumnRoute::fetch(const at::Tensor& own) const {
  const int64_t count = std::accumulate(away_.begin(), away_.end(), int64_t{0});
  const at::Tensor rows = at::empty({count, own.size(1)}, own.options());
  communicator_.all_to_all(rows, own.index_select(0, places_), asking_, away_, "loss.text_again").wait();
  return rows;
}

at::Tensor ColumnRoute::bring_home(const at::Tensor& rows) const {
  const at::Tensor arrived = at::empty({places_.size(0), rows.size(1)}, rows.options());
  communicator_.all_to_all(arrived, rows, away_, asking_, "loss.text_gradient").wait();
  const at::Tensor home = at::zeros({own_, rows.size(1)}, rows.options());
  int64_t begin = 0;
  for (const int64_t of_rank : asking_) {  // each has a row once
    home.index_add_(0, places_.narrow(0, begin, of_rank), arrived.narrow(0, begin, of_rank));
    begin += of_rank;
  }
  return home;
}

}  // namespace muster
