#include "comm/status_board.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "launch/error.h"

namespace muster {
namespace {

constexpr size_t kWords = sizeof(RankStatus) / sizeof(uint64_t);

int64_t now_ns() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();  // one clock for all processes of a host
  return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

template <size_t size>
void set_text(char (&target)[size], const std::string& text) {
  const size_t length = std::min(text.size(), size - 1);
  std::memset(target, 0, size);
  std::memcpy(target, text.data(), length);
}

}  // namespace

// A sequence lock: `version` is odd while its writer writes; a reader that saw a change reads again.
struct StatusBoard::Slot {
  std::atomic<uint64_t> version;
  std::atomic<int64_t> beat_ns;
  std::atomic<uint64_t> words[kWords];
};

void RankStatus::set_operation(const std::string& text) {
  set_text(operation, text);
}
void RankStatus::set_phase(const std::string& text) {
  set_text(phase, text);
}

StatusBoard::StatusBoard(std::vector<int> ranks, int fd) : ranks_(std::move(ranks)) {
  static_assert(std::atomic<uint64_t>::is_always_lock_free, "shared between processes");
  const int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
  void* memory = mmap(nullptr, size_for(ranks_.size()), PROT_READ | PROT_WRITE, flags, fd, 0);
  if (memory == MAP_FAILED) throw DataError(std::string("cannot map the status board: ") + std::strerror(errno));
  slots_ = static_cast<Slot*>(memory);
}

StatusBoard::~StatusBoard() {
  munmap(slots_, size_for(ranks_.size()));
}

size_t StatusBoard::size_for(size_t ranks) {
  return ranks * sizeof(Slot);
}

size_t StatusBoard::slot_of(int rank) const {
  return static_cast<size_t>(std::find(ranks_.begin(), ranks_.end(), rank) - ranks_.begin());
}

void StatusBoard::write(size_t slot, const RankStatus& status) {
  uint64_t words[kWords];
  std::memcpy(words, &status, sizeof status);
  Slot& target = slots_[slot];
  const uint64_t version = target.version.load(std::memory_order_relaxed);
  target.version.store(version + 1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  for (size_t i = 0; i < kWords; ++i) target.words[i].store(words[i], std::memory_order_relaxed);
  target.version.store(version + 2, std::memory_order_release);
}

RankStatus StatusBoard::read(size_t slot) const {
  // A writer that was stopped in the middle leaves `version` odd for ever: after some tries its words are taken as
  // they are, since they are only shown to people.
  constexpr int kTries = 1000;
  const Slot& source = slots_[slot];
  uint64_t words[kWords];
  for (int attempt = 0; attempt < kTries; ++attempt) {
    const uint64_t before = source.version.load(std::memory_order_acquire);
    for (size_t i = 0; i < kWords; ++i) words[i] = source.words[i].load(std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_acquire);
    if (before % 2 == 0 && before == source.version.load(std::memory_order_relaxed)) break;
  }
  RankStatus status;
  std::memcpy(static_cast<void*>(&status), words, sizeof status);
  status.operation[sizeof status.operation - 1] = '\0';
  status.phase[sizeof status.phase - 1] = '\0';
  return status;
}

void StatusBoard::beat(size_t slot) {
  slots_[slot].beat_ns.store(now_ns(), std::memory_order_relaxed);
}

double StatusBoard::seconds_since_beat(size_t slot) const {
  return 1e-9 * static_cast<double>(now_ns() - slots_[slot].beat_ns.load(std::memory_order_relaxed));
}

}  // namespace muster
