#include "comm/gradient_reducer.h"

#include <fmt/format.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <chrono>
#include <functional>
#include <stdexcept>
#include <unordered_map>

#include "comm/buckets.h"

namespace muster {
namespace {

namespace autograd = torch::autograd;

class ReadyHook final : public autograd::PostAccumulateGradHook {
 public:
  explicit ReadyHook(std::function<void()> fired) : fired_(std::move(fired)) {}
  void operator()(const autograd::Variable&) override { fired_(); }

 private:
  std::function<void()> fired_;
};

}  // namespace

class GradientReducer::Impl {
 public:
  Impl(std::vector<std::pair<std::string, at::Tensor>> parameters, Communicator& communicator, int64_t bucket_bytes);
  ~Impl();

  void zero();
  void arm();
  void mark_ready(const at::Tensor& parameter);
  void finish();
  double exposed_seconds() const { return exposed_seconds_; }

 private:
  void hook_fired(size_t p);
  void set_ready(size_t p);
  void launch_full_buckets();
  void launch(size_t bucket);

  std::vector<std::string> names_;
  std::vector<at::Tensor> parameters_;
  std::unordered_map<const c10::TensorImpl*, size_t> index_;
  Communicator& communicator_;
  Buckets buckets_;

  bool armed_ = false;
  std::vector<bool> ready_;
  std::vector<size_t> missing_;  // in each bucket: parameters that are not ready
  std::vector<Work> started_;    // of the buckets in order; its size is the next bucket to launch
  double exposed_seconds_ = 0;
};

GradientReducer::Impl::Impl(std::vector<std::pair<std::string, at::Tensor>> parameters, Communicator& communicator,
                            int64_t bucket_bytes)
    : communicator_(communicator) {
  for (auto& [name, parameter] : parameters) {
    if (!parameter.is_leaf() || !parameter.requires_grad()) {
      throw std::logic_error("GradientReducer: " + name + " is no leaf that requires a gradient; leave it out");
    }
    if (!index_.emplace(parameter.unsafeGetTensorImpl(), parameters_.size()).second) {
      throw std::logic_error("GradientReducer: " + name + " is given twice; give a shared parameter once");
    }
    names_.push_back(std::move(name));
    parameters_.push_back(std::move(parameter));
  }
  buckets_ = make_buckets(parameters_, bucket_bytes);
  ready_.assign(parameters_.size(), false);
  for (size_t p = 0; p < parameters_.size(); ++p) {
    parameters_[p].mutable_grad() = buckets_.views[p];
    autograd::impl::set_post_acc_grad_hooks(parameters_[p], std::make_unique<ReadyHook>([this, p] { hook_fired(p); }));
  }
}

GradientReducer::Impl::~Impl() {
  for (at::Tensor& parameter : parameters_) {
    autograd::impl::set_post_acc_grad_hooks(parameter, nullptr);
    parameter.mutable_grad().reset();
  }
}

void GradientReducer::Impl::zero() {
  for (const Bucket& bucket : buckets_.buckets) bucket.flat.zero_();
}

void GradientReducer::Impl::arm() {
  if (armed_) throw std::logic_error("GradientReducer: arm() twice without finish()");
  armed_ = true;
  ready_.assign(parameters_.size(), false);
  missing_.clear();
  for (const Bucket& bucket : buckets_.buckets) missing_.push_back(bucket.parameters.size());
}

void GradientReducer::Impl::mark_ready(const at::Tensor& parameter) {
  const auto found = index_.find(parameter.unsafeGetTensorImpl());
  if (found == index_.end()) throw std::logic_error("GradientReducer: mark_ready() of a parameter it does not hold");
  if (!armed_) throw std::logic_error("GradientReducer: mark_ready(" + names_[found->second] + ") before arm()");
  set_ready(found->second);
}

void GradientReducer::Impl::hook_fired(size_t p) {
  if (!armed_) return;
  set_ready(p);
  communicator_.poll();
}

void GradientReducer::Impl::set_ready(size_t p) {
  if (buckets_.bucket_of[p] < started_.size()) {
    throw std::logic_error("GradientReducer: the gradient of " + names_[p] +
                           " changed after its sum was started; there is one backward between arm() and finish()");
  }
  if (ready_[p]) return;
  ready_[p] = true;
  --missing_[buckets_.bucket_of[p]];
  launch_full_buckets();
}

// Strictly in bucket order, which is the same on every rank; the order in which gradients become ready need not be.
void GradientReducer::Impl::launch_full_buckets() {
  while (started_.size() < buckets_.buckets.size() && missing_[started_.size()] == 0) launch(started_.size());
}

void GradientReducer::Impl::launch(size_t bucket) {
  for (const size_t p : buckets_.buckets[bucket].parameters) {
    const at::Tensor& gradient = parameters_[p].grad();
    if (!gradient.defined() || gradient.data_ptr() != buckets_.views[p].data_ptr()) {
      throw std::logic_error("GradientReducer: the gradient of " + names_[p] +
                             " is no longer a view of its bucket; call GradientReducer::zero(), never zero_grad()");
    }
  }
  started_.push_back(
      communicator_.all_reduce(buckets_.buckets[bucket].flat, ReduceOp::kSum, fmt::format("gradients {}", bucket)));
}

void GradientReducer::Impl::finish() {
  if (!armed_) throw std::logic_error("GradientReducer: finish() without arm()");
  while (started_.size() < buckets_.buckets.size()) launch(started_.size());
  const auto began = std::chrono::steady_clock::now();
  for (Work& work : started_) work.wait();
  exposed_seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  started_.clear();
  armed_ = false;
}

GradientReducer::GradientReducer(std::vector<std::pair<std::string, at::Tensor>> parameters, Communicator& communicator,
                                 int64_t bucket_bytes)
    : impl_(std::make_unique<Impl>(std::move(parameters), communicator, bucket_bytes)) {}

GradientReducer::~GradientReducer() = default;

void GradientReducer::zero() {
  impl_->zero();
}
void GradientReducer::arm() {
  impl_->arm();
}
void GradientReducer::mark_ready(const at::Tensor& parameter) {
  impl_->mark_ready(parameter);
}
void GradientReducer::finish() {
  impl_->finish();
}
double GradientReducer::exposed_seconds() const {
  return impl_->exposed_seconds();
}

}  // namespace muster
