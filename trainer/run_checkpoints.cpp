#include "trainer/run_checkpoints.h"

#include <fmt/format.h>
#include <google/protobuf/text_format.h>

#include <ATen/ops/scalar_tensor.h>

#include "comm/all_or_none.h"
#include "launch/error.h"
#include "launch/log.h"
#include "trainer/checkpoint_layout.h"
#include "trainer/references/reference_file.h"

namespace muster {

RunCheckpoints::RunCheckpoints(const TrainedParts& parts, const std::string& run_dir, const std::string& config,
                               const TrainConfig& train, Communicator& communicator, TraceRecorder* recorder)
    : parts_(parts), run_dir_(run_dir), config_(config), ema_(train.ema()), communicator_(communicator) {
  if (communicator.rank() == 0) store_.emplace(run_dir, train.checkpoint(), recorder);
}

void RunCheckpoints::save(const TrainState& state) {
  settle();
  is_lost_ = false;
  try {
    start_save(state);
  } catch (const DataError& error) {
    lose(error);
  }
  communicator_.barrier("checkpoint copied");
}

// Not this one, and not the run.
void RunCheckpoints::lose(const DataError& error) {
  is_lost_ = true;
  if (store_) log_error(fmt::format("{}; training goes on", error.what()));
}

void RunCheckpoints::start_save(const TrainState& state) {
  const bool shards = parts_.references != nullptr && parts_.references->is_sharded();
  if (shards) {  // all ranks write into the folder that the checkpoint will be
    std::string folder;
    all_or_none(communicator_, "checkpoint folder", [&] {
      if (store_) folder = store_->prepare(state.step());
    });
    folder = broadcast_string(folder, communicator_, "checkpoint folder");
    write_references(folder + "/" + kReferencesFile, *parts_.references, parts_.reference_names, communicator_);
  }
  if (!store_) return;
  if (state.has_best_step()) store_->protect_best(state.best_step());
  NamedTensors references;
  if (parts_.references != nullptr && !shards) {
    references = reference_tensors(*parts_.references, parts_.reference_names);
  }
  store_->save_async({replica_tensors(parts_.model, parts_.objective, parts_.heads), parts_.optimizer.state(),
                      averages(), state, config_, references, shards, ""});
}

void RunCheckpoints::report() {
  if (store_ && !store_->is_writing()) settle();
}

void RunCheckpoints::settle() {
  try {
    wait();
  } catch (const DataError& error) {
    lose(error);
  }
}

void RunCheckpoints::wait() {
  if (store_) store_->wait();
}

void RunCheckpoints::finish(const TrainState& state) {
  settle();
  const at::Tensor lost = at::scalar_tensor(is_lost_ ? 1 : 0, at::kInt);
  communicator_.all_reduce(lost, ReduceOp::kMax, "checkpoint written").wait();
  if (lost.item<int>() == 0) return;
  start_save(state);
  all_or_none(communicator_, "checkpoint written", [&] { wait(); });
  is_lost_ = false;
}

NamedTensors RunCheckpoints::averages() const {
  return parts_.average ? parts_.average->tensors() : NamedTensors();
}

// Rank 0 reads and decides; everything travels to the others, so that one disk is enough and all agree.
std::optional<TrainState> RunCheckpoints::resume(const TrainingStores& stores,
                                                 const std::function<void(const NamedTensors&)>& initial_weights) {
  const NamedTensors weights = replica_tensors(parts_.model, parts_.objective, parts_.heads);
  std::string state_text;
  std::optional<Snapshot> snapshot;
  if (store_) snapshot = store_->load_newest();
  if (snapshot) {
    take(*snapshot, stores);
    google::protobuf::TextFormat::PrintToString(snapshot->state, &state_text);
  } else if (store_ && initial_weights) {
    initial_weights(replica_tensors(parts_.model, parts_.objective));
  }
  state_text = broadcast_string(state_text, communicator_, "run state");
  broadcast_tensors(weights, communicator_, "initial weights");
  if (ema_.decay() > 0) parts_.average.emplace(weights, ema_);
  if (state_text.empty()) return std::nullopt;
  TrainState state;
  google::protobuf::TextFormat::ParseFromString(state_text, &state);
  broadcast_tensors(parts_.optimizer.state(), communicator_, "optimizer state");
  if (snapshot) copy_tensors(snapshot->ema, averages(), place_of(*snapshot));
  broadcast_tensors(averages(), communicator_, "average of the weights");
  if (parts_.references != nullptr) resume_references(snapshot ? snapshot->references_file : "", stores);
  return state;
}

void RunCheckpoints::take(const Snapshot& snapshot, const TrainingStores& stores) {
  if (snapshot.state.store_fingerprint() != stores.fingerprint()) {
    throw ConfigError(fmt::format("{} was trained on another store than {}; give that store, or another --run",
                                  run_dir_, stores.describe()));
  }
  copy_tensors(snapshot.model, replica_tensors(parts_.model, parts_.objective, parts_.heads), place_of(snapshot));
  parts_.optimizer.load_state(snapshot.optimizer, place_of(snapshot));
  if (parts_.references != nullptr && snapshot.references_file.empty()) {
    throw DataError(place_of(snapshot) + " has no references though the config asks for them; give another --run");
  }
}

void RunCheckpoints::resume_references(const std::string& path, const TrainingStores& stores) {
  const ReferenceOrder& order = parts_.references->order();
  const int64_t found = read_references(path, *parts_.references, communicator_);
  if (found == order.size()) return;
  throw DataError(
      fmt::format("{} has references of {} of the {} identities in {}: it belongs to another set; give the "
                  "store it was trained on, or another --run",
                  path, found / order.per_identity(), order.identity_count(), stores.describe()));
}

std::string RunCheckpoints::place_of(const Snapshot& snapshot) const {
  return fmt::format("{}/checkpoints step {}", run_dir_, snapshot.state.step());
}

}  // namespace muster
