#include "trainer/checkpoint.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <chrono>
#include <exception>
#include <utility>
#include <vector>

#include "dataloader/formats/atomic_file.h"
#include "launch/error.h"
#include "launch/log.h"

namespace muster {
namespace {

bool has_room_for(const NamedTensors& buffers, const NamedTensors& live) {
  if (buffers.size() != live.size()) return false;
  for (size_t i = 0; i < live.size(); ++i) {
    const auto& [buffer_name, buffer] = buffers[i];
    const auto& [name, tensor] = live[i];
    if (buffer_name != name || buffer.sizes() != tensor.sizes() || buffer.scalar_type() != tensor.scalar_type()) {
      return false;
    }
  }
  return true;
}

void copy_into(NamedTensors& buffers, const NamedTensors& live) {
  if (!has_room_for(buffers, live)) {
    buffers.clear();
    for (const auto& [name, tensor] : live) {
      buffers.emplace_back(name, at::empty_like(tensor, at::TensorOptions(at::kCPU), at::MemoryFormat::Contiguous));
    }
  }
  for (size_t i = 0; i < live.size(); ++i) buffers[i].second.copy_(live[i].second);
}

// A step's own folder before the one that stepped aside for it.
std::vector<CheckpointFolder> candidates(const std::string& checkpoints) {
  std::vector<CheckpointFolder> folders = list_checkpoints(checkpoints, "");
  const auto replaced = list_checkpoints(checkpoints, kReplacedSuffix);
  folders.insert(folders.end(), replaced.begin(), replaced.end());
  std::stable_sort(folders.begin(), folders.end(), [](const auto& a, const auto& b) { return a.step > b.step; });
  return folders;
}

// After a failed save.
std::string what_is_left(const std::string& checkpoints) {
  std::vector<CheckpointFolder> earlier;
  try {
    earlier = candidates(checkpoints);
  } catch (const DataError&) {  // where nothing can be listed, nothing can be promised
  }
  if (earlier.empty()) return "there is none before it, the same command begins anew";
  return fmt::format("the same command continues from {}/{}", checkpoints, earlier.front().name);
}

// LATEST is for people and scripts: we look at what is there. But if it names a newer one, somebody removed that.
void warn_if_latest_is_absent(const std::string& checkpoints, int64_t newest, const std::string& taken) {
  std::string latest;
  try {
    latest = read_file(checkpoints + "/" + kLatestFile, 1 << 10);
  } catch (const DataError&) {
    return;
  }
  if (!latest.empty() && latest.back() == '\n') latest.pop_back();
  if (step_of(latest).value_or(-1) > newest) {
    log_warning(fmt::format("checkpoint {} is missing though {}/LATEST names it, going on from {}", latest, checkpoints,
                            taken));
  }
}

}  // namespace

CheckpointStore::CheckpointStore(std::string run_dir, const CheckpointConfig& config, TraceRecorder* trace)
    : checkpoints_(std::move(run_dir) + "/checkpoints"), config_(config), trace_(trace) {}

CheckpointStore::~CheckpointStore() {
  try {
    wait();
  } catch (const std::exception& error) {
    log_error(error.what());
  }
}

void CheckpointStore::save_async(const Snapshot& live) {
  wait();
  const auto start = std::chrono::steady_clock::now();
  const at::NoGradGuard no_grad;
  copy_into(copy_.model, live.model);
  copy_into(copy_.optimizer, live.optimizer);
  copy_into(copy_.ema, live.ema);
  copy_into(copy_.references, live.references);
  copy_.references_in_place = live.references_in_place;
  copy_.state = live.state;
  copy_.config = live.config;
  last_copy_seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  writing_ = std::async(std::launch::async, [this] { write(); });
}

bool CheckpointStore::is_writing() const {
  return writing_.valid() && writing_.wait_for(std::chrono::seconds(0)) != std::future_status::ready;
}

void CheckpointStore::wait() {
  if (writing_.valid()) writing_.get();
}

std::string CheckpointStore::prepare(int64_t step) {
  wait();
  remove_leftovers_once();
  return prepare_checkpoint(checkpoints_, step);
}

void CheckpointStore::remove_leftovers_once() {
  if (!leftovers_removed_) remove_leftovers(checkpoints_);
  leftovers_removed_ = true;
}

void CheckpointStore::write() {
  if (trace_ != nullptr) trace_->name_thread("checkpoint writer");
  const TraceSpan span(trace_, "checkpoint", {"step", copy_.state.step()});
  try {
    remove_leftovers_once();
    write_checkpoint(checkpoints_, copy_);
  } catch (const DataError& error) {
    throw DataError(fmt::format("the checkpoint of step {} could not be saved: {}; {}", copy_.state.step(),
                                error.what(), what_is_left(checkpoints_)));
  }
  try {
    name_latest(checkpoints_, copy_.state.step());
  } catch (const DataError& error) {
    log_warning(fmt::format("the checkpoint of step {} is saved, but LATEST does not name it: {}", copy_.state.step(),
                            error.what()));
  }
  try {
    remove_old();
  } catch (const DataError& error) {
    log_warning(fmt::format("an old checkpoint stays: {}", error.what()));
  }
}

void CheckpointStore::remove_old() {
  const int64_t saved = copy_.state.step(), best = best_step_;
  damaged_.erase(saved);
  int kept = 0;
  for (const CheckpointFolder& folder : list_checkpoints(checkpoints_, "")) {
    const bool damaged = damaged_.count(folder.step) != 0;
    const bool newest = !damaged && kept < config_.keep_last();
    if (newest) ++kept;
    if (damaged || (!newest && folder.step != best && folder.step != saved)) {
      remove_checkpoint(checkpoints_, folder.name);
    }
  }
  damaged_.clear();
  remove_leftovers(checkpoints_);
}

std::optional<Snapshot> CheckpointStore::load_newest() {
  wait();
  const std::vector<CheckpointFolder> folders = candidates(checkpoints_);
  for (const CheckpointFolder& folder : folders) {
    try {
      Snapshot snapshot = read(folder);
      if (snapshot.state.has_best_step()) protect_best(snapshot.state.best_step());
      warn_if_latest_is_absent(checkpoints_, folders.front().step, folder.name);
      return snapshot;
    } catch (const DataError& error) {
      log_warning(fmt::format("checkpoint {} is damaged, trying the one before it: {}", folder.name, error.what()));
      damaged_.insert(folder.step);
    }
  }
  if (folders.empty()) return std::nullopt;
  throw DataError(
      fmt::format("none of the {} checkpoints in {} is whole; remove that folder to start anew, or give "
                  "another --run",
                  folders.size(), checkpoints_));
}

// Under another step's name it would be found again after every newer one.
Snapshot CheckpointStore::read(const CheckpointFolder& folder) const {
  const std::string path = checkpoints_ + "/" + folder.name;
  Snapshot snapshot = read_checkpoint(path);
  if (snapshot.state.step() == folder.step) return snapshot;
  throw DataError(fmt::format("{} holds the checkpoint of step {}", path, snapshot.state.step()));
}

std::optional<std::string> CheckpointStore::newest_config(const std::string& run_dir) {
  const std::string checkpoints = run_dir + "/checkpoints";
  for (const CheckpointFolder& folder : candidates(checkpoints)) {
    try {
      return read_checkpoint_config(checkpoints + "/" + folder.name);
    } catch (const DataError&) {  // load_newest() will say so
    }
  }
  return std::nullopt;
}

Snapshot CheckpointStore::load(int64_t step) {
  wait();
  std::string steps;
  for (const CheckpointFolder& folder : candidates(checkpoints_)) {
    if (folder.step == step) return read(folder);
    steps += (steps.empty() ? "" : ", ") + std::to_string(folder.step);
  }
  throw DataError(
      fmt::format("{} has no checkpoint of step {}; it has: {}", checkpoints_, step, steps.empty() ? "none" : steps));
}

void CheckpointStore::protect_best(int64_t step) {
  if (config_.keep_best()) best_step_ = step;
}

}  // namespace muster
