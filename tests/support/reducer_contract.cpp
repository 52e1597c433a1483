#include "tests/support/reducer_contract.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/Generator.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <stdexcept>

#include "comm/gradient_reducer.h"

namespace muster::contract {
namespace {

constexpr int kSteps = 3;
constexpr double kByHand = 0.37;  // the gradient of log_scale is this for each row

using Parameters = std::vector<std::pair<std::string, at::Tensor>>;

at::Tensor numbers(uint64_t seed, at::IntArrayRef shape) {
  auto generator = at::detail::createCPUGenerator(seed);
  return at::randn(shape, generator, at::TensorOptions(at::kDouble));
}

// The last layer is in double whatever the rest is, so that buckets change dtype.
Parameters parameters_in(at::ScalarType dtype, at::Device device) {
  const std::vector<std::pair<std::string, std::vector<int64_t>>> shapes = {
      {"first.weight", {17, 4}}, {"first.bias", {17}},       {"twice.weight", {17, 17}}, {"unused", {5}},
      {"log_scale", {}},         {"wide.weight", {300, 17}}, {"last.weight", {1, 300}}};
  Parameters parameters;
  for (const auto& [name, shape] : shapes) {
    const bool mixed = name == "last.weight";
    const at::Tensor values = numbers(7 + parameters.size(), shape).mul(0.3).to(at::kFloat);
    parameters.emplace_back(name, values.to(device, mixed ? at::kDouble : dtype).requires_grad_());
  }
  return parameters;
}

at::Tensor value_of(const Parameters& parameters, const at::Tensor& rows) {
  std::map<std::string, at::Tensor> p(parameters.begin(), parameters.end());
  const at::Tensor x = rows.to(p["first.weight"].options());
  at::Tensor h = x.matmul(p["first.weight"].t()).add(p["first.bias"]).tanh();
  h = h.matmul(p["twice.weight"].t()).tanh().matmul(p["twice.weight"].t());
  h = h.matmul(p["wide.weight"].t()).tanh().to(at::kDouble);
  return h.matmul(p["last.weight"].t()).sum();
}

at::Tensor rows_of_step(int step, int64_t rows) {
  return numbers(static_cast<uint64_t>(1000 + step), {rows, 4});
}

void expect_close(const Communicator& c, const std::string& name, const at::Tensor& actual, const at::Tensor& expected,
                  double tolerance) {
  const double scale = std::max(expected.abs().max().item().toDouble(), 1e-30);
  const double error = actual.to(at::kCPU, at::kDouble).sub(expected).abs().max().item().toDouble() / scale;
  if (!(error <= tolerance)) {
    throw std::runtime_error(
        fmt::format("rank {} of {}: the gradient of {} is off by {}", c.rank(), c.size(), name, error));
  }
}

// One process, one graph, all rows, in double.
Parameters reference(int step, int64_t rows) {
  Parameters parameters = parameters_in(at::kDouble, at::kCPU);
  value_of(parameters, rows_of_step(step, rows)).backward();
  for (auto& [name, parameter] : parameters) {
    if (!parameter.grad().defined()) parameter.mutable_grad() = at::zeros(parameter.sizes(), at::kDouble);
    if (name == "log_scale") parameter.mutable_grad().fill_(kByHand * static_cast<double>(rows));
  }
  return parameters;
}

const at::Tensor& find(const Parameters& parameters, const std::string& name) {
  for (const auto& [other, parameter] : parameters) {
    if (other == name) return parameter;
  }
  throw std::logic_error(name);
}

void reduce_step(const Parameters& parameters, GradientReducer& reducer, const at::Tensor& my_rows) {
  const int64_t half = my_rows.size(0) / 2;
  reducer.zero();
  if (half > 0) value_of(parameters, my_rows.narrow(0, 0, half)).backward();
  reducer.arm();
  const at::Tensor& log_scale = find(parameters, "log_scale");
  log_scale.grad().add_(kByHand * static_cast<double>(my_rows.size(0)));
  reducer.mark_ready(log_scale);
  if (my_rows.size(0) > half) value_of(parameters, my_rows.narrow(0, half, my_rows.size(0) - half)).backward();
  reducer.finish();
}

at::Tensor my_rows_of(const Communicator& c, const at::Tensor& rows) {
  const auto cut = split_rows(rows.size(0), c.size());
  int64_t begin = 0;
  for (int r = 0; r < c.rank(); ++r) begin += cut[static_cast<size_t>(r)];
  return rows.narrow(0, begin, cut[static_cast<size_t>(c.rank())]);
}

}  // namespace

void reducer_equals_autograd(Communicator& c, int64_t rows, int64_t bucket_bytes, at::Device device) {
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
    const Parameters parameters = parameters_in(dtype, device);
    GradientReducer reducer(parameters, c, bucket_bytes);
    std::vector<const void*> places;
    for (const auto& [name, parameter] : parameters) places.push_back(parameter.grad().data_ptr());
    for (int step = 0; step < kSteps; ++step) {
      reduce_step(parameters, reducer, my_rows_of(c, rows_of_step(step, rows)));
      const Parameters expected = reference(step, rows);
      for (size_t i = 0; i < parameters.size(); ++i) {
        const auto& [name, parameter] = parameters[i];
        expect_close(c, name, parameter.grad(), expected[i].second.grad(), dtype == at::kDouble ? 1e-12 : 2e-5);
        if (parameter.grad().data_ptr() != places[i]) throw std::runtime_error(name + " lost its view of the bucket");
      }
    }
  }
}

void reducer_repeats_its_bits(Communicator& c, at::Device device) {
  std::vector<at::Tensor> first;
  for (int run = 0; run < 3; ++run) {
    const Parameters parameters = parameters_in(at::kFloat, device);
    GradientReducer reducer(parameters, c, 1000);
    reduce_step(parameters, reducer, my_rows_of(c, rows_of_step(0, 23)));
    for (size_t i = 0; i < parameters.size(); ++i) {
      if (run == 0) first.push_back(parameters[i].second.grad().clone());
      if (!at::equal(parameters[i].second.grad(), first[i])) {
        throw std::runtime_error(parameters[i].first + " has other bits in another run");
      }
    }
  }
}

}  // namespace muster::contract
