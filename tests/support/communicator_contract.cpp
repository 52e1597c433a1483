#include "tests/support/communicator_contract.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/core/Generator.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>

#include <functional>
#include <stdexcept>

#include "launch/error.h"

namespace muster::contract {
namespace {

const std::vector<at::ScalarType> kDtypes = {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16,
                                             at::kLong,   at::kInt,   at::kByte};

bool is_half(at::ScalarType dtype) {
  return dtype == at::kHalf || dtype == at::kBFloat16;
}

void expect(bool holds, const Communicator& communicator, const std::string& what) {
  if (!holds)
    throw std::runtime_error(fmt::format("rank {} of {}: {}", communicator.rank(), communicator.size(), what));
}

void expect_equal(const Communicator& communicator, const at::Tensor& actual, const at::Tensor& expected,
                  const std::string& what) {
  expect(actual.sizes() == expected.sizes() && actual.scalar_type() == expected.scalar_type() &&
             at::equal(actual.cpu(), expected),
         communicator, what);
}

// Small whole numbers, exact in every dtype: rank r's tensor.
at::Tensor numbers(int rank, at::IntArrayRef shape, at::ScalarType dtype) {
  int64_t count = 1;
  for (const int64_t n : shape) count *= n;
  return at::arange(count, at::kLong).mul(rank + 1).add(3 * rank).remainder(17).view(shape).to(dtype);
}

at::Tensor reduced(int size, at::IntArrayRef shape, at::ScalarType dtype, ReduceOp op) {
  at::Tensor result = numbers(0, shape, at::kLong);
  for (int r = 1; r < size; ++r) {
    const at::Tensor other = numbers(r, shape, at::kLong);
    if (op == ReduceOp::kSum) result = result.add(other);
    if (op == ReduceOp::kMax) result = result.maximum(other);
    if (op == ReduceOp::kMin) result = result.minimum(other);
  }
  return result.to(dtype);
}

// Rows of each rank: 0, 3, 1, 4, ...
std::vector<int64_t> ragged_rows(int size) {
  std::vector<int64_t> rows;
  for (int r = 0; r < size; ++r) rows.push_back(size == 1 ? 3 : r * 3 % 5);
  return rows;
}

int64_t before(const std::vector<int64_t>& rows, int rank) {
  int64_t sum = 0;
  for (int r = 0; r < rank; ++r) sum += rows[static_cast<size_t>(r)];
  return sum;
}

int64_t total(const std::vector<int64_t>& rows) {
  return before(rows, static_cast<int>(rows.size()));
}

std::vector<int64_t> shape_with_rows(int64_t rows, const std::vector<int64_t>& row_shape) {
  std::vector<int64_t> shape = {rows};
  shape.insert(shape.end(), row_shape.begin(), row_shape.end());
  return shape;
}

void check_all_gather(Communicator& c, const std::vector<int64_t>& rows, const std::vector<int64_t>& row_shape,
                      at::ScalarType dtype, bool own_slice, at::Device device) {
  const int64_t mine = rows[static_cast<size_t>(c.rank())];
  const at::Tensor output =
      at::full(shape_with_rows(total(rows), row_shape), 77, at::TensorOptions(dtype).device(device));
  at::Tensor input = numbers(c.rank(), shape_with_rows(mine, row_shape), dtype).to(device);
  if (own_slice) input = output.narrow(0, before(rows, c.rank()), mine).copy_(input);
  c.all_gather(output, input, rows, "gather").wait();
  std::vector<at::Tensor> parts;
  for (int r = 0; r < c.size(); ++r) {
    parts.push_back(numbers(r, shape_with_rows(rows[static_cast<size_t>(r)], row_shape), dtype));
  }
  expect_equal(c, output, at::cat(parts), fmt::format("all_gather of {} is wrong", c10::toString(dtype)));
}

void check_reduce_scatter(Communicator& c, const std::vector<int64_t>& rows, const std::vector<int64_t>& row_shape,
                          at::ScalarType dtype, bool own_slice, at::Device device) {
  const int64_t mine = rows[static_cast<size_t>(c.rank())];
  const auto shape = shape_with_rows(total(rows), row_shape);
  const at::Tensor input = numbers(c.rank(), shape, dtype).to(device);
  const at::Tensor own = input.narrow(0, before(rows, c.rank()), mine);
  const at::Tensor output = own_slice ? own : at::full(shape_with_rows(mine, row_shape), 77, input.options());
  c.reduce_scatter(output, input, rows, "scatter").wait();
  const at::Tensor expected = reduced(c.size(), shape, dtype, ReduceOp::kSum).narrow(0, before(rows, c.rank()), mine);
  expect_equal(c, output, expected, fmt::format("reduce_scatter of {} is wrong", c10::toString(dtype)));
}

// Rank s sends (s + 2 r) % 4 rows to rank r; every row carries sender, receiver and its number.
void check_all_to_all(Communicator& c, int64_t row_length, at::ScalarType dtype, at::Device device) {
  const auto rows_between = [](int s, int r) { return static_cast<int64_t>((s + 2 * r) % 4); };
  const auto message = [&](int s, int r) {
    return at::arange(rows_between(s, r), at::kLong)
        .add(10 * s + 4 * r)
        .view({-1, 1})
        .expand({-1, row_length})
        .to(dtype);
  };
  std::vector<int64_t> send;
  std::vector<int64_t> receive;
  std::vector<at::Tensor> sent;
  std::vector<at::Tensor> expected;
  for (int r = 0; r < c.size(); ++r) {
    send.push_back(rows_between(c.rank(), r));
    receive.push_back(rows_between(r, c.rank()));
    sent.push_back(message(c.rank(), r));
    expected.push_back(message(r, c.rank()));
  }
  const at::Tensor output = at::full({total(receive), row_length}, 77, at::TensorOptions(dtype).device(device));
  c.all_to_all(output, at::cat(sent).contiguous().to(device), send, receive, "exchange").wait();
  expect_equal(c, output, at::cat(expected), fmt::format("all_to_all of {} is wrong", c10::toString(dtype)));
}

void check_all_reduce(Communicator& c, const std::vector<int64_t>& shape, at::ScalarType dtype, ReduceOp op,
                      at::Device device) {
  const at::Tensor tensor = numbers(c.rank(), shape, dtype).to(device);
  c.all_reduce(tensor, op, "reduce").wait();
  expect_equal(c, tensor, reduced(c.size(), shape, dtype, op),
               fmt::format("all_reduce {} of {} is wrong", static_cast<int>(op), c10::toString(dtype)));
}

void check_broadcast(Communicator& c, const std::vector<int64_t>& shape, at::ScalarType dtype, int root,
                     at::Device device) {
  const at::Tensor tensor = numbers(c.rank(), shape, dtype).to(device);
  c.broadcast(tensor, root, "parameters").wait();
  expect_equal(c, tensor, numbers(root, shape, dtype), "broadcast is wrong");
}

template <typename Exception = std::logic_error>
void expect_refused(Communicator& c, const std::function<void()>& call, const std::vector<std::string>& parts) {
  try {
    call();
  } catch (const Exception& error) {
    const std::string line = error.what();
    expect(line.find('\n') == std::string::npos, c, "the message is no single line: " + line);
    for (const std::string& part : parts) expect(line.find(part) != std::string::npos, c, part + " is not in: " + line);
    return;
  }
  expect(false, c, "was not refused: " + parts.front());
}

at::Generator generator(int seed) {
  return at::detail::createCPUGenerator(static_cast<uint64_t>(seed));
}

at::Tensor in_float(const at::Tensor& tensor) {
  return is_half(tensor.scalar_type()) ? tensor.to(at::kFloat) : tensor;
}

}  // namespace

void values_of_each_dtype(Communicator& c, at::Device device) {
  for (const at::ScalarType dtype : kDtypes) {
    check_all_reduce(c, {3, 5}, dtype, ReduceOp::kSum, device);
    if (!is_half(dtype)) check_all_reduce(c, {3, 5}, dtype, ReduceOp::kMax, device);
    if (!is_half(dtype)) check_all_reduce(c, {3, 5}, dtype, ReduceOp::kMin, device);
    check_all_gather(c, std::vector<int64_t>(static_cast<size_t>(c.size()), 2), {3}, dtype, false, device);
    check_reduce_scatter(c, std::vector<int64_t>(static_cast<size_t>(c.size()), 2), {3}, dtype, false, device);
    for (int root = 0; root < c.size(); ++root) check_broadcast(c, {7}, dtype, root, device);
    check_all_to_all(c, 3, dtype, device);
  }
  c.barrier("end of values");
}

void ragged_and_empty(Communicator& c, at::Device device) {
  for (const std::vector<int64_t>& row_shape : {std::vector<int64_t>{}, {5}, {2, 3}, {0}}) {
    for (const auto& rows : {ragged_rows(c.size()), split_rows(1, c.size()), split_rows(0, c.size()),
                             split_rows(4 * c.size() + 1, c.size())}) {
      check_all_gather(c, rows, row_shape, at::kFloat, false, device);
      check_reduce_scatter(c, rows, row_shape, at::kFloat, false, device);
    }
  }
  check_all_reduce(c, {0}, at::kFloat, ReduceOp::kSum, device);
  check_all_reduce(c, {}, at::kDouble, ReduceOp::kSum, device);
  check_broadcast(c, {0, 4}, at::kFloat, c.size() - 1, device);
  // Rank 0 alone sends.
  std::vector<int64_t> send(static_cast<size_t>(c.size()), c.rank() == 0 ? 1 : 0);
  std::vector<int64_t> receive(static_cast<size_t>(c.size()), 0);
  receive[0] = 1;
  const at::Tensor output = at::zeros({1, 2}, at::TensorOptions(at::kFloat).device(device));
  c.all_to_all(output, at::full({total(send), 2}, 5, at::kFloat).to(device), send, receive, "from rank 0").wait();
  expect_equal(c, output, at::full({1, 2}, 5, at::kFloat), "all_to_all from one rank is wrong");
}

void in_place(Communicator& c, at::Device device) {
  for (const auto& rows : {ragged_rows(c.size()), split_rows(2 * c.size(), c.size())}) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kLong}) {
      check_all_gather(c, rows, {4}, dtype, true, device);
      check_reduce_scatter(c, rows, {4}, dtype, true, device);
    }
  }
}

void large(Communicator& c, at::Device device) {
  const int64_t odd = 300007;
  check_all_reduce(c, {odd}, at::kFloat, ReduceOp::kSum, device);
  check_all_reduce(c, {odd}, at::kInt, ReduceOp::kMax, device);
  check_all_reduce(c, {odd}, at::kBFloat16, ReduceOp::kSum, device);
  check_broadcast(c, {odd}, at::kDouble, c.size() - 1, device);
  const auto rows = split_rows(1003, c.size());
  check_all_gather(c, rows, {257}, at::kFloat, false, device);
  check_reduce_scatter(c, rows, {257}, at::kFloat, false, device);
  check_all_to_all(c, 20011, at::kFloat, device);
}

void works_in_flight(Communicator& c, at::Device device) {
  // Small, large, small: one round, two rounds, one round.
  const std::vector<std::vector<int64_t>> shapes = {{5}, {100003}, {3, 3}, {50021}, {1}};
  std::vector<at::Tensor> tensors;
  std::vector<Work> works;
  for (const auto& shape : shapes) {
    tensors.push_back(numbers(c.rank(), shape, at::kFloat).to(device));
    works.push_back(c.all_reduce(tensors.back(), ReduceOp::kSum, fmt::format("in flight {}", works.size())));
  }
  c.poll();
  const std::vector<size_t> order =
      c.rank() % 2 == 0 ? std::vector<size_t>{4, 1, 0, 3, 2} : std::vector<size_t>{3, 2, 4, 0, 1};
  for (const size_t i : order) {
    works[i].wait();
    expect_equal(c, tensors[i], reduced(c.size(), shapes[i], at::kFloat, ReduceOp::kSum), "a Work in flight is wrong");
    works[i].wait();  // waiting twice is waiting once
    expect(works[i].test(), c, "a finished Work says it is not");
  }
  const at::Tensor a = numbers(c.rank(), {100}, at::kFloat).to(device);
  const at::Tensor b = numbers(c.rank(), {100}, at::kFloat).to(device);
  Work work = c.all_reduce(a, ReduceOp::kSum, "moved");
  Work other = std::move(work);
  expect(work.test(), c, "a moved-from Work is not finished");
  other = c.all_reduce(b, ReduceOp::kMax, "assigned over");  // waits for the first
  expect_equal(c, a, reduced(c.size(), {100}, at::kFloat, ReduceOp::kSum), "assignment did not wait");
  while (!other.test()) {
  }
  expect_equal(c, b, reduced(c.size(), {100}, at::kFloat, ReduceOp::kMax), "test() came too early");
  const at::Tensor dropped = numbers(c.rank(), {100003}, at::kFloat).to(device);
  { const Work unfinished = c.all_reduce(dropped, ReduceOp::kSum, "dropped"); }
  expect_equal(c, dropped, reduced(c.size(), {100003}, at::kFloat, ReduceOp::kSum), "a dropped Work did not wait");
  // Nobody but the Work holds this tensor.
  Work owner = c.all_reduce(at::full({50021}, 2, a.options()), ReduceOp::kSum, "owned");
  owner.wait();
}

void bits_of_sums(Communicator& c, at::Device device) {
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16}) {
    for (const int64_t count : {int64_t{11}, int64_t{70001}}) {
      const auto part = [&](int r) {
        auto random = generator(100 + r);
        return at::randn({count}, random, at::TensorOptions(at::kDouble)).mul(r + 1).to(dtype);
      };
      at::Tensor expected = in_float(part(0));
      for (int r = 1; r < c.size(); ++r) expected = expected.add(in_float(part(r)));
      expected = expected.to(dtype);
      for (int run = 0; run < 3; ++run) {
        const at::Tensor tensor = part(c.rank()).to(device);
        c.all_reduce(tensor, ReduceOp::kSum, "bits").wait();
        expect_equal(c, tensor, expected,
                     fmt::format("all_reduce of {} is no sum in rank order", c10::toString(dtype)));
      }
      const auto rows = split_rows(count, c.size());
      const int64_t mine = rows[static_cast<size_t>(c.rank())];
      const at::Tensor output = at::empty({mine}, at::TensorOptions(dtype).device(device));
      c.reduce_scatter(output, part(c.rank()).to(device), rows, "bits").wait();
      expect_equal(c, output, expected.narrow(0, before(rows, c.rank()), mine),
                   "reduce_scatter is no sum in rank order");
    }
  }
}

void misuse(Communicator& c) {
  const std::string me = fmt::format("on rank {}", c.rank());
  const auto size = static_cast<size_t>(c.size());
  const std::vector<int64_t> ones(size, 1);
  const at::Tensor row = at::zeros({1, 4}, at::kFloat);
  const at::Tensor all = at::zeros({c.size(), 4}, at::kFloat);
  const at::Tensor slanted = at::zeros({4, 6}, at::kFloat).t();
  const auto sum = [&](const at::Tensor& t) { return [&c, t] { c.all_reduce(t, ReduceOp::kSum, "grads"); }; };
  expect_refused(c, sum(slanted), {"all_reduce 'grads'", me, "Float [6, 4] is not contiguous"});
  expect_refused(c, sum(at::Tensor()), {"all_reduce 'grads'", me, "undefined"});
  expect_refused(c, sum(at::zeros({2}, at::kBool)), {"all_reduce 'grads'", me, "Bool [2]"});
  expect_refused(c, [&] { c.all_reduce(at::zeros({2}, at::kHalf), ReduceOp::kMax, "top"); },
                 {"all_reduce 'top'", me, "max of Half [2]"});
  const auto gather = [&](const at::Tensor& o, const at::Tensor& i, const std::vector<int64_t>& rows) {
    return [&c, o, i, rows] { c.all_gather(o, i, rows, "features"); };
  };
  expect_refused(
      c, gather(at::zeros({c.size() + 1, 4}, at::kFloat), row, ones),
      {"all_gather 'features'", me, fmt::format("output Float [{}, 4] should have {} rows", size + 1, size)});
  expect_refused(c, gather(all, at::zeros({2, 4}, at::kFloat), ones),
                 {"all_gather", me, "input Float [2, 4] should have 1 rows"});
  expect_refused(c, gather(all, at::zeros({1, 5}, at::kFloat), ones),
                 {"all_gather", me, "Float [1, 5]", "differ in dtype or row shape"});
  expect_refused(c, gather(all, at::zeros({1, 4}, at::kDouble), ones), {"all_gather", me, "Double [1, 4]"});
  expect_refused(c, gather(all, row, std::vector<int64_t>(size + 1, 1)), {"all_gather", me, "rows has"});
  expect_refused(c, gather(all, row, std::vector<int64_t>(size, -1)), {"all_gather", me, "negative"});
  const at::Tensor shared = at::zeros({4 * c.size() + 2}, at::kFloat);
  expect_refused(
      c,
      gather(shared.narrow(0, 0, 4 * c.size()).view({-1, 4}), shared.narrow(0, 4 * c.rank() + 1, 4).view({1, 4}), ones),
      {"all_gather", me, "overlap"});
  expect_refused(c,
                 [&] {
                   c.reduce_scatter(at::zeros({3, 4}, at::kFloat), all, ones, "home");
                 },
                 {"reduce_scatter 'home'", me, "output Float [3, 4] should have 1 rows"});
  expect_refused(c, [&] { c.broadcast(row, c.size(), "weights"); }, {"broadcast 'weights'", me, "no rank"});
  expect_refused(c, [&] { c.all_to_all(all, all, ones, ones, "swap"); }, {"all_to_all 'swap'", me, "overlap"});
  expect_refused(c,
                 [&] {
                   c.all_to_all(all, at::zeros({c.size() + 2, 4}, at::kFloat), ones, ones, "swap");
                 },
                 {"all_to_all 'swap'", me, "input Float"});
  check_all_reduce(c, {4}, at::kFloat, ReduceOp::kSum, at::kCPU);  // nothing was left behind
}

int differing_call_count() {
  return 7;
}

void differing_calls(Communicator& c, int which) {
  const bool odd_one = c.rank() == c.size() - 1;
  const std::vector<int64_t> ones(static_cast<size_t>(c.size()), 1);
  const at::Tensor row = at::zeros({1, 4}, at::kFloat);
  const at::Tensor all = at::zeros({c.size(), 4}, at::kFloat);
  const std::vector<std::function<void()>> cases = {
      [&] { c.all_reduce(row, ReduceOp::kSum, odd_one ? "text" : "image").wait(); },
      [&] { c.all_reduce(at::zeros({odd_one ? 3 : 4}, at::kFloat), ReduceOp::kSum, "image").wait(); },
      [&] { c.all_reduce(at::zeros({4}, odd_one ? at::kDouble : at::kFloat), ReduceOp::kSum, "image").wait(); },
      [&] { c.all_reduce(row, odd_one ? ReduceOp::kMax : ReduceOp::kSum, "image").wait(); },
      [&] { odd_one ? c.barrier("image") : c.all_reduce(row, ReduceOp::kSum, "image").wait(); },
      [&] {
        odd_one ? c.all_gather(all, row, ones, "image").wait() : c.reduce_scatter(row, all, ones, "image").wait();
      },
      [&] { c.broadcast(row, odd_one ? 0 : 1, "image").wait(); },
  };
  c.barrier("together");
  expect_refused<CommError>(c, cases.at(static_cast<size_t>(which)),
                            {"ranks make different calls", "call 2", "'image'"});
}

}  // namespace muster::contract
