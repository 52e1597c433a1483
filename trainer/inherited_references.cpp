#include "trainer/inherited_references.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "dataloader/formats/safetensors_rows.h"
#include "dataloader/text/escaped.h"
#include "launch/error.h"
#include "launch/log.h"
#include "trainer/checkpoint.h"
#include "trainer/reference_names.h"
#include "trainer/run_folder.h"

namespace muster {
namespace {

constexpr int64_t kBlockRows = 16384;

[[noreturn]] void refuse(const std::string& run_dir, const std::string& what) {
  throw ConfigError(fmt::format("references.init_run {} {}", run_dir, what));
}

// " (a, b, c, ...)"
std::string some_names(const std::vector<std::string>& names) {
  constexpr size_t kShown = 3;
  if (names.empty()) return "";
  std::string text = " (";
  for (size_t i = 0; i < std::min(kShown, names.size()); ++i) text += (i > 0 ? ", " : "") + escaped(names[i], 40);
  return text + (names.size() > kShown ? ", ...)" : ")");
}

struct Found {
  std::string path;
  int64_t step = 0;
};

// Verified byte for byte, like all that a checkpoint gives.
Found find_file(const std::string& run_dir, const ReferenceBank& bank) {
  if (!holds_run(run_dir)) refuse(run_dir, "holds no run; give the folder of a muster train --run");
  const std::optional<Snapshot> newest = CheckpointStore(run_dir, CheckpointConfig()).load_newest();
  if (!newest) refuse(run_dir, "holds no complete checkpoint; train it first");
  if (newest->references_file.empty()) {
    refuse(run_dir, "was trained without references; give another run, or set references.init to MEAN");
  }
  const SafetensorsFile file(newest->references_file);
  const std::vector<int64_t>& sizes = file.sizes("rows");
  if (sizes.size() != 2 || sizes[1] != bank.width()) {
    refuse(run_dir, fmt::format("has references of width {}, this model's features have width {}; give a run with the "
                                "same model.joint_width, or set references.init to MEAN",
                                sizes.empty() ? 0 : sizes.back(), bank.width()));
  }
  const at::Tensor slot = file.has("slot") ? file.read("slot").to(at::kLong) : at::zeros({1}, at::kLong);
  const int64_t per_identity = slot.numel() == 0 ? 1 : slot.max().item<int64_t>() + 1;
  if (per_identity != bank.order().per_identity()) {
    refuse(run_dir, fmt::format("has {} references an identity, references.per_identity is {}: give both runs the same",
                                per_identity, bank.order().per_identity()));
  }
  if (!file.has("name.bytes")) {
    refuse(run_dir, "has references without names, written by an earlier version; continue it for a step to add them");
  }
  return {newest->references_file, newest->state.step()};
}

ReferenceMatch match(const Found& found, const std::string& run_dir, const ReferenceBank& bank,
                     const TrainingStores& stores) {
  const ReferenceMatch match = match_references(read_named_rows(SafetensorsFile(found.path)), bank.order(), stores);
  const auto begins = bank.order().identity_count() - static_cast<int64_t>(match.appeared.size());
  log_info(fmt::format("references: {} of {} begin as in {} at step {}; {} appear{}, {} of that run vanish{}", begins,
                       bank.order().identity_count(), run_dir, found.step, match.new_names.size(),
                       some_names(match.new_names), match.vanished.size(), some_names(match.vanished)));
  return match;
}

// Rank 0's, on all ranks.
void broadcast_numbers(std::vector<int64_t>& numbers, Communicator& communicator, const char* name) {
  const at::Tensor size = at::scalar_tensor(static_cast<int64_t>(numbers.size()), at::kLong);
  communicator.broadcast(size, 0, name).wait();
  const at::Tensor all = at::empty({size.item<int64_t>()}, at::kLong);
  auto* data = all.mutable_data_ptr<int64_t>();
  if (communicator.rank() == 0) std::copy(numbers.begin(), numbers.end(), data);
  communicator.broadcast(all, 0, name).wait();
  numbers.assign(data, data + all.size(0));
}

}  // namespace

InheritedReferences find_inherited_references(const std::string& run_dir, const ReferenceBank& bank,
                                              const TrainingStores& stores, Communicator& communicator) {
  InheritedReferences inherited;
  if (communicator.rank() == 0) {
    const Found found = find_file(run_dir, bank);
    ReferenceMatch matched = match(found, run_dir, bank, stores);
    inherited = {found.path, std::move(matched.identity_of), std::move(matched.appeared)};
  }
  broadcast_numbers(inherited.identity_of, communicator, "references.inherited");
  broadcast_numbers(inherited.without, communicator, "references.new");
  return inherited;
}

void take_inherited_references(const InheritedReferences& inherited, ReferenceBank& bank, Communicator& communicator) {
  std::unique_ptr<SafetensorsFile> file;
  if (communicator.rank() == 0) file = std::make_unique<SafetensorsFile>(inherited.path);
  const auto count = static_cast<int64_t>(inherited.identity_of.size());
  for (int64_t first = 0; first < count; first += kBlockRows) {
    const int64_t some = std::min(kBlockRows, count - first);
    at::Tensor rows = at::empty({some, bank.width()}, bank.rows().options());
    if (file) rows.copy_(file->read_rows("rows", first, some));
    communicator.broadcast(rows, 0, "references.rows").wait();
    const at::Tensor identity = at::empty({some}, at::kLong), slot = at::zeros({some}, at::kLong);
    if (bank.order().per_identity() > 1) {
      if (file) slot.copy_(file->read_rows("slot", first, some));
      communicator.broadcast(slot, 0, "references.slot").wait();
    }
    std::copy_n(inherited.identity_of.begin() + first, some, identity.mutable_data_ptr<int64_t>());
    bank.take_rows({{"rows", rows}, {"identity", identity}, {"slot", slot}});
  }
}

}  // namespace muster
