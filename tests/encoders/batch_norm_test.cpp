// Batch norm over ranks against PyTorch's own of all rows at once.
#include "trainer/encoders/batch_norm.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/batch_norm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "comm/thread_communicator.h"

namespace muster {
namespace {

constexpr int64_t kWidth = 5;

at::Tensor random(at::IntArrayRef sizes, uint64_t seed) {
  return at::randn(sizes, at::detail::createCPUGenerator(seed), at::kDouble);
}

std::shared_ptr<BatchNorm> make_norm(at::ScalarType dtype) {
  const auto norm = std::make_shared<BatchNorm>(kWidth);
  norm->to(dtype);
  const at::NoGradGuard no_graph;
  norm->named_parameters()["weight"].copy_(1 + 0.3 * random({kWidth}, 1));
  norm->named_parameters()["bias"].copy_(0.3 * random({kWidth}, 2));
  return norm;
}

double error(const at::Tensor& value, const at::Tensor& truth) {
  return (value.to(at::kDouble) - truth).abs().max().item<double>() / truth.abs().max().item<double>();
}

struct Truth {
  at::Tensor x, y, d_y, running_mean, running_variance, evaluated;
  at::Tensor weight, bias;
};

// All rows in float64: two training passes, then one in evaluation.
Truth whole_batch(int64_t rows) {
  Truth truth;
  truth.x = (2 + random({rows, kWidth}, 3)).requires_grad_();
  truth.d_y = random({rows, kWidth}, 4);
  const auto norm = make_norm(at::kDouble);
  truth.weight = norm->named_parameters()["weight"];
  truth.bias = norm->named_parameters()["bias"];
  truth.running_mean = at::zeros({kWidth}, at::kDouble);
  truth.running_variance = at::ones({kWidth}, at::kDouble);
  const auto pass = [&](bool training) {
    return at::batch_norm(truth.x, truth.weight, truth.bias, truth.running_mean, truth.running_variance, training, 0.1,
                          1e-5, false);
  };
  pass(true);
  truth.y = pass(true);
  truth.y.backward(truth.d_y);
  truth.evaluated = pass(false).detach();
  return truth;
}

void expect_as_whole(const std::vector<int64_t>& rows, at::ScalarType dtype, double bound) {
  int64_t all = 0;
  for (const int64_t of_rank : rows) all += of_rank;
  const Truth truth = whole_batch(all);
  run_ranks(static_cast<int>(rows.size()), [&](Communicator& communicator) {
    int64_t first = 0;
    for (int rank = 0; rank < communicator.rank(); ++rank) first += rows[static_cast<size_t>(rank)];
    const int64_t own = rows[static_cast<size_t>(communicator.rank())];
    const std::string where = "rank " + std::to_string(communicator.rank()) + " of " + std::to_string(rows.size());
    const auto norm = make_norm(dtype);
    norm->join(communicator, "norm");
    norm->train();
    const at::Tensor x = truth.x.detach().narrow(0, first, own).to(dtype).clone().requires_grad_();
    norm->forward(x);
    const at::Tensor y = norm->forward(x);
    y.backward(truth.d_y.narrow(0, first, own).to(dtype));
    const at::Tensor gradients =
        at::cat({norm->named_parameters()["weight"].grad(), norm->named_parameters()["bias"].grad()});
    communicator.all_reduce(gradients, ReduceOp::kSum, "gradients").wait();
    EXPECT_LE(error(gradients.narrow(0, 0, kWidth), truth.weight.grad()), bound) << where;
    EXPECT_LE(error(gradients.narrow(0, kWidth, kWidth), truth.bias.grad()), bound) << where;
    EXPECT_LE(error(norm->named_buffers()["running_mean"], truth.running_mean), bound) << where;
    EXPECT_LE(error(norm->named_buffers()["running_variance"], truth.running_variance), bound) << where;
    if (own == 0) return;
    EXPECT_LE(error(y, truth.y.detach().narrow(0, first, own)), bound) << where;
    EXPECT_LE(error(x.grad(), truth.x.grad().narrow(0, first, own)), bound) << where;
    norm->eval();
    const int64_t calls = communicator.bytes_started();
    EXPECT_LE(error(norm->forward(x), truth.evaluated.narrow(0, first, own)), bound) << where;
    EXPECT_EQ(communicator.bytes_started(), calls) << "evaluation is collective, " << where;
  });
}

TEST(BatchNorm, RanksAreAsOneWithAllRows) {
  for (const std::vector<int64_t>& rows :
       {std::vector<int64_t>{13}, {7, 6}, {5, 4, 4}, {13, 0, 3}, {0, 6}, {1, 1, 0, 1}}) {
    expect_as_whole(rows, at::kDouble, 1e-12);
    expect_as_whole(rows, at::kFloat, 2e-5);
  }
}

TEST(BatchNorm, WithoutOtherRanksItsRowsAreAll) {
  const Truth truth = whole_batch(9);
  const auto norm = make_norm(at::kDouble);
  norm->train();
  norm->forward(truth.x);
  EXPECT_LE(error(norm->forward(truth.x).detach(), truth.y.detach()), 1e-12);
}

}  // namespace
}  // namespace muster
