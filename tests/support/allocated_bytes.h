// Bytes of tensors that a thread's work leaves behind, and the most there were on the way, to the byte: as LibTorch's
// CPU allocator reports them.
#pragma once

#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <algorithm>
#include <cstdint>
#include <memory>

namespace muster {

// Counts while it lives, on the thread that made it.
class AllocatedBytes {
 public:
  int64_t now() const { return count_->now; }
  int64_t most() const { return count_->most; }

 private:
  struct Count : c10::MemoryReportingInfoBase {
    void reportMemoryUsage(void*, int64_t bytes, size_t, size_t, c10::Device) override {
      now += bytes;
      most = std::max(most, now);
    }
    bool memoryProfilingEnabled() const override { return true; }
    int64_t now = 0, most = 0;
  };

  std::shared_ptr<Count> count_ = std::make_shared<Count>();
  c10::DebugInfoGuard guard_{c10::DebugInfoKind::PROFILER_STATE, count_};
};

}  // namespace muster
