#include "comm/gradient_reducer.h"

#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <torch/csrc/autograd/variable.h>

#include <functional>

#include "comm/buckets.h"
#include "comm/local_communicator.h"
#include "comm/thread_communicator.h"
#include "tests/support/reducer_contract.h"

namespace muster {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class ReducerOverThreads : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Worlds, ReducerOverThreads, testing::Values(1, 2, 3, 4));

TEST_P(ReducerOverThreads, EqualsAutogradOverTheWholeBatch) {
  for (const int64_t bucket_bytes : {1, 1500, 1 << 20}) {
    for (const int64_t rows : {3, 23}) {  // 3: ranks with one row and no first chunk, or with none
      run_ranks(GetParam(), [=](Communicator& c) { contract::reducer_equals_autograd(c, rows, bucket_bytes); });
    }
  }
}

TEST_P(ReducerOverThreads, RepeatsItsBits) {
  run_ranks(GetParam(), [](Communicator& c) { contract::reducer_repeats_its_bits(c); });
}

// A world of one that writes down what it is asked.
class Recorder final : public Communicator {
 public:
  Recorder() : Communicator(0, 1, false) {}
  void poll() override { ++polls; }
  [[noreturn]] void abort(int, const std::string&) override { throw std::logic_error("abort"); }
  void set_timeout(double) override {}

  std::vector<std::string> names;
  int polls = 0;

 private:
  Work do_all_reduce(const at::Tensor&, ReduceOp, const std::string& name) override {
    names.push_back(name);
    return Work();
  }
  Work do_all_gather(const at::Tensor&, const at::Tensor&, const std::vector<int64_t>&, const std::string&) override {
    return Work();
  }
  Work do_reduce_scatter(const at::Tensor&, const at::Tensor&, const std::vector<int64_t>&,
                         const std::string&) override {
    return Work();
  }
  Work do_broadcast(const at::Tensor&, int, const std::string&) override { return Work(); }
  Work do_all_to_all(const at::Tensor&, const at::Tensor&, const std::vector<int64_t>&, const std::vector<int64_t>&,
                     const std::string&) override {
    return Work();
  }
  void do_barrier(const std::string&) override {}
};

// Three layers in a row; backward reaches c, then b, then a.
class Reducer : public testing::Test {
 protected:
  at::Tensor value() const { return a_.mul(b_).mul(c_).sum(); }
  std::vector<std::pair<std::string, at::Tensor>> parameters() const { return {{"a", a_}, {"b", b_}, {"c", c_}}; }
  static std::string error_of(const std::function<void()>& body) {
    try {
      body();
    } catch (const std::logic_error& error) {
      return error.what();
    }
    return "no logic_error";
  }

  const at::Tensor a_ = at::full({3}, 2.0, at::kFloat).requires_grad_();
  const at::Tensor b_ = at::full({3}, 3.0, at::kFloat).requires_grad_();
  const at::Tensor c_ = at::full({3}, 5.0, at::kFloat).requires_grad_();
  Recorder recorder_;
};

TEST_F(Reducer, LaunchesInBucketOrderWhileBackwardRunsAndPolls) {
  GradientReducer reducer(parameters(), recorder_, 1);
  value().backward();
  EXPECT_THAT(recorder_.names, ElementsAre());  // not armed
  reducer.arm();
  reducer.mark_ready(a_);  // bucket 2: must wait for its turn
  EXPECT_THAT(recorder_.names, ElementsAre());
  at::ones({3}, at::kFloat).mul(b_).mul(c_).sum().backward();
  EXPECT_THAT(recorder_.names, ElementsAre("gradients 0", "gradients 1", "gradients 2"));
  EXPECT_EQ(recorder_.polls, 2);
  reducer.finish();
  EXPECT_EQ(recorder_.names.size(), 3U);
  EXPECT_GE(reducer.exposed_seconds(), 0);
}

TEST_F(Reducer, UnusedParametersAreLaunchedByFinishWithZeroGradients) {
  GradientReducer reducer(parameters(), recorder_, 1);
  reducer.arm();
  c_.sum().backward();
  EXPECT_THAT(recorder_.names, ElementsAre("gradients 0"));
  reducer.finish();
  EXPECT_THAT(recorder_.names, ElementsAre("gradients 0", "gradients 1", "gradients 2"));
  EXPECT_EQ(a_.grad().abs().sum().item().toFloat(), 0);
}

TEST_F(Reducer, ZeroKeepsTheViews) {
  GradientReducer reducer(parameters(), recorder_, 1 << 20);
  const void* place = b_.grad().data_ptr();
  value().backward();
  EXPECT_EQ(b_.grad()[0].item().toFloat(), 10);
  reducer.zero();
  EXPECT_EQ(b_.grad()[0].item().toFloat(), 0);
  EXPECT_EQ(b_.grad().data_ptr(), place);
}

TEST_F(Reducer, TheDestructorTakesHooksAndGradientsAway) {
  {
    const GradientReducer reducer(parameters(), recorder_, 1);
    EXPECT_NE(torch::autograd::impl::post_acc_grad_hooks(a_), nullptr);
  }
  EXPECT_EQ(torch::autograd::impl::post_acc_grad_hooks(a_), nullptr);
  EXPECT_FALSE(a_.grad().defined());
  value().backward();
  EXPECT_EQ(recorder_.polls, 0);
  EXPECT_EQ(a_.grad()[0].item().toFloat(), 15);
}

TEST_F(Reducer, ADroppedViewIsReported) {
  GradientReducer reducer(parameters(), recorder_, 1);
  b_.mutable_grad().reset();  // what zero_grad(set_to_none) does
  reducer.arm();
  EXPECT_THAT(error_of([&] { reducer.finish(); }), HasSubstr("b is no longer a view of its bucket"));
}

TEST_F(Reducer, AGradientThatChangesAfterItsLaunchIsReported) {
  GradientReducer reducer(parameters(), recorder_, 1);
  reducer.arm();
  c_.sum().backward();
  EXPECT_THAT(error_of([&] { c_.sum().backward(); }), HasSubstr("c changed after its sum was started"));
}

TEST_F(Reducer, MisuseIsReported) {
  EXPECT_THAT(error_of([&] {
                GradientReducer({{"x", at::zeros({2}, at::kFloat)}}, recorder_, 1);
              }),
              HasSubstr("x is no leaf"));
  EXPECT_THAT(error_of([&] {
                GradientReducer({{"a", a_}, {"tied", a_}}, recorder_, 1);
              }),
              HasSubstr("tied is given twice"));
  GradientReducer reducer({{"a", a_}}, recorder_, 1);
  EXPECT_THAT(error_of([&] { reducer.finish(); }), HasSubstr("without arm()"));
  EXPECT_THAT(error_of([&] { reducer.mark_ready(a_); }), HasSubstr("mark_ready(a) before arm()"));
  reducer.arm();
  EXPECT_THAT(error_of([&] { reducer.mark_ready(b_); }), HasSubstr("does not hold"));
  EXPECT_THAT(error_of([&] { reducer.arm(); }), HasSubstr("twice"));
}

TEST(Buckets, FillInReverseOrderAndCutAtSizeAndDtype) {
  const std::vector<at::Tensor> parameters = {at::zeros({100}, at::kFloat), at::zeros({3}, at::kFloat),
                                              at::zeros({2, 2}, at::kDouble), at::zeros({5}, at::kFloat),
                                              at::zeros({7}, at::kFloat)};
  const Buckets buckets = make_buckets(parameters, 128);
  ASSERT_EQ(buckets.buckets.size(), 4U);
  EXPECT_THAT(buckets.buckets[0].parameters, ElementsAre(4, 3));
  EXPECT_THAT(buckets.buckets[1].parameters, ElementsAre(2));
  EXPECT_THAT(buckets.buckets[2].parameters, ElementsAre(1));
  EXPECT_THAT(buckets.buckets[3].parameters, ElementsAre(0));  // larger than a bucket: one of its own
  EXPECT_THAT(buckets.bucket_of, ElementsAre(3, 2, 1, 0, 0));
  for (size_t p = 0; p < parameters.size(); ++p) {
    EXPECT_EQ(buckets.views[p].sizes(), parameters[p].sizes());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buckets.views[p].data_ptr()) % 64, 0U);
    EXPECT_TRUE(buckets.views[p].is_alias_of(buckets.buckets[buckets.bucket_of[p]].flat));
  }
}

}  // namespace
}  // namespace muster
