#include "trainer/reference_names.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "launch/error.h"

namespace muster {
namespace {

constexpr const char* kBytes = "name.bytes";
constexpr const char* kOffsets = "name.offsets";

const std::string& name_of(int64_t identity, const TrainingStores& stores) {
  const auto share = std::find_if(stores.shares().rbegin(), stores.shares().rend(),
                                  [&](const TrainingStores::Share& one) { return one.first_identity <= identity; });
  return share->store->identity_name(identity - share->first_identity);
}

// The identities of each name, ascending.
using Named = std::map<std::string, std::set<int64_t>>;

}  // namespace

NamedTensors reference_names(const ReferenceOrder& order, const TrainingStores& stores) {
  std::string bytes;
  const at::Tensor offsets = at::empty({order.size() + 1}, at::kLong);
  auto* offset = offsets.mutable_data_ptr<int64_t>();
  *offset++ = 0;
  for (const int64_t identity : order.identities()) {
    bytes += name_of(identity, stores);
    *offset++ = static_cast<int64_t>(bytes.size());
  }
  const at::Tensor blob = at::empty({static_cast<int64_t>(bytes.size())}, at::kByte);
  std::copy(bytes.begin(), bytes.end(), blob.mutable_data_ptr<uint8_t>());
  return {{kOffsets, offsets}, {kBytes, blob}};
}

NamedRows read_named_rows(const SafetensorsFile& file) {
  const at::Tensor identity = file.read("identity"), offsets = file.read(kOffsets), bytes = file.read(kBytes);
  const auto refuse = [&](const std::string& what) {
    throw DataError(fmt::format("{}: {}; take an earlier checkpoint", file.path(), what));
  };
  if (identity.scalar_type() != at::kLong || offsets.scalar_type() != at::kLong || bytes.scalar_type() != at::kByte ||
      identity.dim() != 1 || offsets.dim() != 1 || bytes.dim() != 1 || offsets.size(0) != identity.size(0) + 1 ||
      file.sizes("rows").size() != 2 || file.sizes("rows")[0] != identity.size(0)) {
    refuse("rows, identities and names are of other shapes");
  }
  NamedRows rows;
  const auto* end = offsets.const_data_ptr<int64_t>();
  const auto* blob = bytes.const_data_ptr<uint8_t>();
  if (end[0] != 0 || end[identity.size(0)] != bytes.size(0)) refuse("the names' offsets do not fit their bytes");
  for (int64_t row = 0; row < identity.size(0); ++row) {
    if (end[row + 1] < end[row] || end[row + 1] > bytes.size(0)) refuse("the names' offsets do not ascend");
    rows.name.emplace_back(blob + end[row], blob + end[row + 1]);
    rows.identity.push_back(identity.const_data_ptr<int64_t>()[row]);
  }
  return rows;
}

ReferenceMatch match_references(const NamedRows& there, const ReferenceOrder& order, const TrainingStores& stores) {
  Named own, others;
  for (const int64_t identity : order.identities()) own[name_of(identity, stores)].insert(identity);
  for (size_t row = 0; row < there.name.size(); ++row) others[there.name[row]].insert(there.identity[row]);
  ReferenceMatch match;
  std::map<int64_t, std::string> appeared;
  std::map<int64_t, int64_t> here_of;
  for (const auto& [name, identities] : own) {
    const auto found = others.find(name);
    if (found != others.end() && found->second.size() == identities.size()) {
      auto other = found->second.begin();
      for (const int64_t identity : identities) here_of[*other++] = identity;
    } else {
      for (const int64_t identity : identities) appeared[identity] = name;
    }
  }
  for (const auto& [identity, name] : appeared) {
    match.appeared.push_back(identity);
    match.new_names.push_back(name);
  }
  for (const auto& [name, identities] : others) {
    for (const int64_t identity : identities) {
      if (here_of.count(identity) == 0) match.vanished.push_back(name);
    }
  }
  for (const int64_t identity : there.identity) {
    const auto found = here_of.find(identity);
    match.identity_of.push_back(found == here_of.end() ? -1 : found->second);
  }
  return match;
}

}  // namespace muster
