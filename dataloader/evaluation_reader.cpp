#include "dataloader/evaluation_reader.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <system_error>
#include <thread>

#include "launch/error.h"
#include "launch/log.h"

namespace muster {
namespace {

// Calls body(0) .. body(count - 1) on some threads, in any order; rethrows the error of the lowest index.
void for_each_index(int threads, int64_t count, const std::function<void(int64_t)>& body) {
  std::atomic<int64_t> next{0};
  std::mutex mutex;
  std::exception_ptr error;
  int64_t error_index = count;
  // Indices are taken in order: what comes before a failed one is at least begun, and so finished by its thread.
  const auto work = [&] {
    for (int64_t index = next++; index < count; index = next++) {
      try {
        body(index);
      } catch (...) {
        next = count;
        const std::lock_guard<std::mutex> lock(mutex);
        if (index < error_index) {
          error = std::current_exception();
          error_index = index;
        }
      }
    }
  };
  std::vector<std::thread> helpers;
  try {
    for (int i = 1; i < std::min<int64_t>(threads, count); ++i) helpers.emplace_back(work);
  } catch (const std::system_error&) {
    log_warning(fmt::format("only {} of {} threads could be started for reading", helpers.size() + 1, threads));
  }
  work();
  for (std::thread& helper : helpers) helper.join();
  if (error) std::rethrow_exception(error);
}

}  // namespace

EvaluationReader::EvaluationReader(const Store& store, const DataConfig& data, const InputSize& input,
                                   const Tokenizer& tokenizer)
    : store_(store), tokenizer_(tokenizer), context_(input.context), threads_(data.workers()) {
  if (threads_ < 1) throw ConfigError(fmt::format("data.workers is {}: give at least 1", threads_));
  check_readable(store, input.region_width);
  if (input.region_width == 0) transform_.emplace(data.image(), input.width, input.height);
}

Batch EvaluationReader::images(const std::vector<int64_t>& numbers) const {
  if (!transform_) return regions(numbers);
  const auto count = static_cast<int64_t>(numbers.size());
  Batch batch;
  batch.images = at::empty({count, 3, transform_->height(), transform_->width()}, at::kFloat);
  float* out = batch.images.mutable_data_ptr<float>();
  for_each_index(threads_, count, [&](int64_t index) {
    const int64_t number = numbers[static_cast<size_t>(index)];
    try {
      const std::vector<uint8_t> bytes = store_.image_bytes(number);
      const Image image = decode_image(bytes.data(), bytes.size(), store_.source_path(number));
      transform_->evaluate(image, out + index * transform_->floats());
    } catch (const DataError& error) {
      throw DataError(fmt::format("image {} of {}: {}", number, store_.path(), error.what()));
    }
  });
  return batch;
}

Batch EvaluationReader::regions(const std::vector<int64_t>& numbers) const {
  std::vector<int64_t> counts, first_rows;
  int64_t rows = 0;
  for (const int64_t number : numbers) {
    counts.push_back(store_.region_count(number));
    first_rows.push_back(rows);
    rows += counts.back();
  }
  RegionTensors result = allocate_regions(counts, store_.region_width());
  for_each_index(threads_, static_cast<int64_t>(numbers.size()), [&](int64_t index) {
    const auto at = static_cast<size_t>(index);
    try {
      read_region_rows(store_, numbers[at], first_rows[at], result);
    } catch (const DataError& error) {
      throw DataError(fmt::format("image {} of {}: {}", numbers[at], store_.path(), error.what()));
    }
  });
  Batch batch;
  batch.regions = result.regions;
  batch.boxes = result.boxes;
  batch.region_counts = result.region_counts;
  return batch;
}

at::Tensor EvaluationReader::tokens(const std::vector<int64_t>& numbers) const {
  const auto count = static_cast<int64_t>(numbers.size());
  at::Tensor result = at::empty({count, context_}, at::kLong);
  int64_t* out = result.mutable_data_ptr<int64_t>();
  for_each_index(threads_, count, [&](int64_t index) {
    const int64_t number = numbers[static_cast<size_t>(index)];
    try {
      tokenizer_.encode(store_.caption(number), out + index * context_, context_);
    } catch (const DataError& error) {
      throw DataError(fmt::format("caption {} of {}: {}", number, store_.path(), error.what()));
    }
  });
  return result;
}

}  // namespace muster
