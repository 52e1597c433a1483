#include "dataloader/loader.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "dataloader/region_batch.h"
#include "dataloader/sample_list.h"
#include "dataloader/text_transform.h"
#include "dataloader/transforms.h"
#include "launch/error.h"
#include "launch/log.h"

namespace muster {
namespace {

// Image tensors that are given out again once nobody else holds them or a view of them. Memory from the system anew
// for each batch costs more than decoding: a page fault for every 4 KiB.
class ImageBuffers {
 public:
  explicit ImageBuffers(size_t most) : most_(most) {}

  at::Tensor take(at::IntArrayRef shape) {
    for (const at::Tensor& buffer : buffers_) {
      if (buffer.use_count() == 1 && buffer.storage().use_count() == 1) return buffer;
    }
    const at::Tensor buffer = at::empty(shape, at::kFloat);
    if (buffers_.size() < most_) buffers_.push_back(buffer);
    return buffer;
  }

 private:
  size_t most_;
  std::vector<at::Tensor> buffers_;
};

// Without its image side.
Batch allocate_batch(int64_t rows, const InputSize& input) {
  Batch batch;
  batch.tokens = at::empty({rows, input.context}, at::kLong);
  batch.identity = at::empty({rows}, at::kLong);
  batch.image_id = at::empty({rows}, at::kLong);
  batch.position = at::empty({rows}, at::kLong);
  return batch;
}

// Sample by sample into a batch: what the threads share, unchanging.
class SampleReader {
 public:
  SampleReader(const TrainingStores& stores, const DataConfig& data, const InputSize& input, const Tokenizer& tokenizer,
               const SampleStream& stream)
      : text_(data.text(), tokenizer),
        samples_(stores, data),
        sampler_(make_sampler(samples_, data.sampler(), stream.global_batch, stream.seed)),
        region_width_(input.region_width),
        context_(input.context),
        seed_(stream.seed),
        global_batch_(stream.global_batch),
        slice_(slice_of(stream.global_batch, stream.shard)) {
    for (const TrainingStores::Share& share : stores.shares()) check_readable(*share.store, region_width_);
    if (region_width_ == 0) transform_.emplace(data.image(), input.width, input.height);
    if (stream.shard.rank == 0 && samples_.images_without_caption() > 0) {
      log_warning(fmt::format("{} training images of {} have no caption and are left out",
                              samples_.images_without_caption(), stores.describe()));
    }
  }

  int64_t rows() const { return slice_.count; }

  // Of each row's image, in a step's batch of regions.
  std::vector<int64_t> region_counts(int64_t step) const {
    std::vector<int64_t> counts;
    for (int64_t row = 0; row < rows(); ++row) {
      const Sample sample = sample_at(position_of(step, row));
      counts.push_back(sample.store->region_count(sample.image));
    }
    return counts;
  }

  // first_region: where the row's regions begin, if regions are read.
  void read(int64_t step, int64_t row, const Batch& batch, int64_t first_region) const {
    const int64_t position = position_of(step, row);
    const Sample sample = sample_at(position);
    const Store& store = *sample.store;
    batch.identity.mutable_data_ptr<int64_t>()[row] = sample.run_identity;
    batch.image_id.mutable_data_ptr<int64_t>()[row] = sample.run_image;
    batch.position.mutable_data_ptr<int64_t>()[row] = position;
    try {
      if (transform_) {
        const std::vector<uint8_t> bytes = store.image_bytes(sample.image);
        const Image image = decode_image(bytes.data(), bytes.size(), store.source_path(sample.image));
        float* pixels = batch.images.mutable_data_ptr<float>() + row * transform_->floats();
        transform_->train(image, seed_, static_cast<uint64_t>(position), pixels);
      } else {
        read_region_rows(store, sample.image, first_region, {batch.regions, batch.boxes, batch.region_counts});
      }
      int64_t* ids = batch.tokens.mutable_data_ptr<int64_t>() + row * context_;
      text_.encode(store.caption(sample.caption), seed_, static_cast<uint64_t>(position), ids, context_);
    } catch (const DataError& error) {
      throw DataError(fmt::format("step {}, image {} of {}: {}", step, sample.image, store.path(), error.what()));
    }
  }

 private:
  int64_t position_of(int64_t step, int64_t row) const { return step * global_batch_ + slice_.first + row; }
  Sample sample_at(int64_t position) const { return samples_.at(sampler_->sample(position), seed_, position); }

  TextTransform text_;
  SampleList samples_;
  std::unique_ptr<Sampler> sampler_;
  std::optional<ImageTransform> transform_;  // none: regions are read
  int64_t region_width_;
  int64_t context_;
  uint64_t seed_;
  int64_t global_batch_;
  Slice slice_;
};

// Batches that the caller holds at a time: the one it trains on, and the one it has just asked for.
constexpr int64_t kHeldByCaller = 2;
constexpr int64_t kMostWorkers = 1024;
constexpr int64_t kMostPrefetch = 1024;

int64_t in_range(int64_t value, int64_t most, const char* field) {
  if (value < 1 || value > most) throw ConfigError(fmt::format("{} is {}: give 1 to {}", field, value, most));
  return value;
}

}  // namespace

// A ring of batches being filled, steps step_ .. step_ + ring - 1. Threads take its samples one by one in stream order,
// so that several work on one batch, or on consecutive ones, as it comes.
class Loader::Impl {
 public:
  Impl(const TrainingStores& stores, const DataConfig& data, const InputSize& input, const Tokenizer& tokenizer,
       const SampleStream& stream, TraceRecorder* trace)
      : reader_(stores, data, input, tokenizer, stream),
        input_(input),
        trace_(trace),
        buffers_(static_cast<size_t>(in_range(data.prefetch(), kMostPrefetch, "data.prefetch") + kHeldByCaller)),
        step_(stream.first_step),
        end_step_(stream.end_step),
        task_{stream.first_step, 0} {
    const int64_t workers = in_range(data.workers(), kMostWorkers, "data.workers");
    const int64_t steps = std::max<int64_t>(end_step_ - step_, 0);
    ring_.resize(static_cast<size_t>(std::min<int64_t>(data.prefetch(), steps)));
    for (int64_t i = 0; i < ring_size(); ++i) slot_of(step_ + i) = make_slot(step_ + i);
    if (reader_.rows() == 0) return;
    try {
      for (int64_t i = 0; i < workers; ++i) threads_.emplace_back([this, i] { work(i); });
    } catch (...) {
      stop();
      throw;
    }
  }

  ~Impl() { stop(); }

  Batch next() {
    if (step_ >= end_step_) throw std::logic_error(fmt::format("Loader: no batch after step {}", end_step_ - 1));
    const bool reuse = step_ + ring_size() < end_step_;
    Slot fresh = reuse ? make_slot(step_ + ring_size()) : Slot();
    const auto start = std::chrono::steady_clock::now();
    std::unique_lock<std::mutex> lock(mutex_);
    Slot& slot = slot_of(step_);
    batch_ready_.wait(lock, [&] { return slot.missing == 0; });
    waited_ += std::chrono::steady_clock::now() - start;
    if (slot.error) std::rethrow_exception(slot.error);
    std::swap(slot, fresh);
    ++step_;
    lock.unlock();
    slot_free_.notify_all();
    return std::move(fresh.batch);
  }

  double waited_seconds() const { return std::chrono::duration<double>(waited_).count(); }

 private:
  struct Slot {
    Batch batch;
    std::vector<int64_t> first_regions;  // of each row, where regions are read
    int64_t missing = 0;                 // samples not yet finished
    std::exception_ptr error;
    int64_t error_row = 0;
  };
  struct Task {
    int64_t step;
    int64_t row;
  };

  Slot make_slot(int64_t step) {
    Slot slot;
    slot.batch = allocate_batch(reader_.rows(), input_);
    slot.missing = reader_.rows();
    slot.first_regions.resize(static_cast<size_t>(reader_.rows()));
    if (input_.region_width == 0) {
      slot.batch.images = buffers_.take({reader_.rows(), 3, input_.height, input_.width});
      return slot;
    }
    const std::vector<int64_t> counts = reader_.region_counts(step);
    std::exclusive_scan(counts.begin(), counts.end(), slot.first_regions.begin(), int64_t{0});
    RegionTensors tensors = allocate_regions(counts, input_.region_width);
    slot.batch.regions = std::move(tensors.regions);
    slot.batch.boxes = std::move(tensors.boxes);
    slot.batch.region_counts = std::move(tensors.region_counts);
    return slot;
  }
  int64_t ring_size() const { return static_cast<int64_t>(ring_.size()); }
  Slot& slot_of(int64_t step) { return ring_[static_cast<size_t>(step % ring_size())]; }

  void work(int64_t thread) {
    if (trace_ != nullptr) trace_->name_thread(fmt::format("loader {}", thread));
    Task task{};
    while (take(task)) {
      std::exception_ptr error;
      try {
        const TraceSpan span(trace_, "sample", {"step", task.step + 1}, "loader");
        const Slot& slot = slot_of(task.step);
        reader_.read(task.step, task.row, slot.batch, slot.first_regions[static_cast<size_t>(task.row)]);
      } catch (...) {
        error = std::current_exception();
      }
      finish(task, error);
    }
  }

  // False when nothing is left to do.
  bool take(Task& task) {
    std::unique_lock<std::mutex> lock(mutex_);
    slot_free_.wait(lock, [&] {
      return stopping_ || task_.step < std::min(step_ + ring_size(), end_step_) || task_.step >= end_step_;
    });
    if (stopping_ || task_.step >= end_step_) return false;
    task = task_;
    if (++task_.row == reader_.rows()) task_ = {task_.step + 1, 0};
    return true;
  }

  void finish(const Task& task, const std::exception_ptr& error) {
    const std::lock_guard<std::mutex> lock(mutex_);
    Slot& slot = slot_of(task.step);
    // The first row's error is reported, whichever thread was faster.
    if (error && (!slot.error || task.row < slot.error_row)) {
      slot.error = error;
      slot.error_row = task.row;
    }
    if (--slot.missing == 0) batch_ready_.notify_one();
  }

  void stop() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
    }
    slot_free_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  SampleReader reader_;
  InputSize input_;
  TraceRecorder* trace_;
  ImageBuffers buffers_;
  std::vector<Slot> ring_;
  int64_t step_;  // that next() gives
  int64_t end_step_;
  Task task_;  // the next sample to be taken
  bool stopping_ = false;
  std::chrono::steady_clock::duration waited_{0};
  std::mutex mutex_;
  std::condition_variable slot_free_;
  std::condition_variable batch_ready_;
  std::vector<std::thread> threads_;
};

int64_t most_batches(const DataConfig& data) {
  return data.prefetch() + kHeldByCaller;
}

Loader::Loader(const TrainingStores& stores, const DataConfig& data, const InputSize& input, const Tokenizer& tokenizer,
               const SampleStream& stream, TraceRecorder* trace)
    : impl_(std::make_unique<Impl>(stores, data, input, tokenizer, stream, trace)) {}
Loader::~Loader() = default;
Batch Loader::next() {
  return impl_->next();
}
double Loader::waited_seconds() const {
  return impl_->waited_seconds();
}

}  // namespace muster
