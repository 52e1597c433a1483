// The loader's batches with their images on the model's device, one batch ahead.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>
#include <c10/core/Stream.h>

#include <cstdint>
#include <future>
#include <memory>
#include <optional>

#include "dataloader/batch.h"
#include "dataloader/loader.h"

namespace muster {

// On the CPU it is the loader. On a GPU a thread takes the next batch while this one is computed, puts its images and
// tokens into pinned memory and sends the images on a stream of their own: two batches of images lie on the GPU. Tokens
// and labels stay on the CPU.
class DeviceLoader {
 public:
  // `batches`: how many the loader will give. The loader must outlive this.
  DeviceLoader(Loader& loader, at::Device device, int64_t batches);
  DeviceLoader(const DeviceLoader&) = delete;
  DeviceLoader& operator=(const DeviceLoader&) = delete;

  // As Loader::next(). The current stream is ordered after the copy. One thread at a time.
  Batch next();

  // Seconds that all calls of next() have waited so far.
  double waited_seconds() const { return waited_seconds_; }

 private:
  struct Sent {
    Batch batch;
    c10::Event arrived;
  };

  std::unique_ptr<Sent> fetch();
  void fetch_ahead();

  Loader& loader_;
  at::Device device_;
  int64_t left_;  // batches that nobody has asked the loader for
  std::optional<c10::Stream> copies_;
  std::future<std::unique_ptr<Sent>> ahead_;
  double waited_seconds_ = 0;
};

}  // namespace muster
