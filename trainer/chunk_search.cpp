#include "trainer/chunk_search.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>

#include <fmt/format.h>

#include "launch/error.h"
#include "launch/log.h"
#include "trainer/device_memory.h"
#include "trainer/encoders/model_config.h"
#include "trainer/encoders/model_cost.h"

namespace muster {
namespace {

// Rows whose captions are as long as they may be.
Batch longest_batch(const StepJob& job, int64_t rows, at::Device device) {
  const ModelConfig& model = job.settings.model;
  Batch batch;
  if (has_sets(model)) {
    const int64_t regions = rows * kUsualRegions;
    batch.regions = at::zeros({regions, model.regions().width()}, at::TensorOptions(at::kHalf).device(device));
    batch.boxes = at::zeros({regions, kBoxNumbers}, at::TensorOptions(at::kFloat).device(device));
    batch.region_counts = at::full({rows}, kUsualRegions, at::kLong);
  } else {
    batch.images = at::zeros({rows, 3, model.image().height_pixels(), model.image().width_pixels()},
                             at::TensorOptions(at::kFloat).device(device));
  }
  batch.tokens = at::ones({rows, model.text().context()}, at::kLong);
  batch.tokens.select(1, model.text().context() - 1).fill_(model.text().vocabulary() - 1);
  batch.position = batch.image_id = at::arange(rows, at::kLong);
  batch.identity = at::full({rows}, job.some_identity, at::kLong);
  return batch;
}

// What a step holds on the device beside weights, gradients, optimizer and what rehearse() makes.
int64_t reserve_bytes(const StepJob& job, int rank) {
  int64_t bytes = 0;
  for (const MemoryItem& item : step_memory(job, rank)) {
    const bool there = item.what == "weights" || item.what == "gradients" || item.what == "optimizer";
    const bool made = item.what == "activations" || item.what == "heads";
    if (item.on_gpu && !there && !made) bytes += item.bytes;
  }
  return bytes;
}

}  // namespace

int64_t search_chunk(int64_t rows, const std::function<bool(int64_t)>& fits, Communicator& communicator,
                     const std::string& refusal) {
  int64_t chunk = rows;
  while (chunk > 0 && !fits(chunk)) chunk = chunk == 1 ? 0 : (chunk + 1) / 2;
  const at::Tensor least = at::full({1}, chunk, at::kLong);
  communicator.all_reduce(least, ReduceOp::kMin, "chunk").wait();
  chunk = least.item<int64_t>();
  if (chunk == 0) throw ConfigError(refusal);
  return chunk;
}

bool fits_device(int64_t chunk, TrainingStep& step, const StepJob& job, int rank, at::Device device) {
  StepJob with_chunk = job;
  with_chunk.settings.train.set_chunk(chunk);
  try {
    const at::Tensor reserve =
        at::empty({reserve_bytes(with_chunk, rank)}, at::TensorOptions(at::kByte).device(device));
    step.rehearse(longest_batch(job, chunk, device));
    return true;
  } catch (const c10::OutOfMemoryError&) {
  }
  release_cached_memory(device);
  return false;
}

bool fits_host(int64_t chunk, StepJob job, int rank, int64_t bytes) {
  job.settings.train.set_chunk(chunk);
  int64_t sum = kProgramBytes;
  for (const MemoryItem& item : step_memory(job, rank)) sum += item.on_gpu ? 0 : item.bytes;
  return sum <= bytes;
}

int64_t find_chunk(TrainingStep& step, StepJob job, at::Device device, int64_t host_memory,
                   Communicator& communicator) {
  job.gpu = !device.is_cpu();
  const int64_t rows = rows_of(job, 0);
  const auto gib = [](int64_t bytes) { return static_cast<double>(bytes) / static_cast<double>(int64_t{1} << 30); };
  const auto fits = [&](int64_t chunk) {
    return job.gpu ? fits_device(chunk, step, job, communicator.rank(), device)
                   : fits_host(chunk, job, communicator.rank(), host_memory);
  };
  const std::string refusal =
      job.gpu ? "train.chunk AUTO: not even a chunk of one row fits the GPU of every rank; take a smaller model, or "
                "train.precision=BF16"
              : fmt::format(
                    "train.chunk AUTO: a rank may take {:.2f} GiB of its host, which is too little even for "
                    "chunks of one row (muster train --dry-run says for what); start fewer ranks a host, or "
                    "lower train.global_batch",
                    gib(host_memory));
  const int64_t chunk = search_chunk(rows, fits, communicator, refusal);
  if (communicator.rank() != 0) return chunk;
  const std::string found = chunk == rows ? fmt::format("all {} rows of a rank at once", rows)
                                          : fmt::format("chunks of {} of a rank's {} rows", chunk, rows);
  log_info(
      fmt::format("train.chunk AUTO: {}, {}", found,
                  job.gpu ? "by trying" : fmt::format("as a rank may take {:.2f} GiB of its host", gib(host_memory))));
  return chunk;
}

}  // namespace muster
