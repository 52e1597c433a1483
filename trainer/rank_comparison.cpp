#include "trainer/rank_comparison.h"

#include <ATen/ops/isfinite.h>
#include <ATen/ops/scalar_tensor.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "comm/rank_numbers.h"
#include "comm/watchdog.h"
#include "dataloader/formats/hashes.h"
#include "launch/error.h"
#include "trainer/function_clones.h"

namespace muster {
namespace {

int64_t hash_of(const at::Tensor& tensor) {
  const at::Tensor host = tensor.to(at::kCPU);
  const uint64_t hash = xxh3_64(host.const_data_ptr(), host.nbytes());
  int64_t number = 0;
  std::memcpy(&number, &hash, sizeof number);
  return number;
}

std::vector<int64_t> hashes_of(const NamedTensors& tensors) {
  std::vector<int64_t> hashes;
  for (const auto& [name, tensor] : tensors) hashes.push_back(hash_of(tensor));
  return hashes;
}

int64_t joined(const std::vector<int64_t>& hashes) {
  const uint64_t hash = xxh3_64(hashes.data(), hashes.size() * sizeof(int64_t));
  int64_t number = 0;
  std::memcpy(&number, &hash, sizeof number);
  return number;
}

// The groups of ranks that agree: "rank 0; ranks 1 and 3; rank 2".
std::string groups_of(const std::vector<std::vector<int64_t>>& hashes) {
  std::vector<std::string> groups;
  for (size_t first = 0; first < hashes.size(); ++first) {
    std::vector<int> same;
    for (size_t rank = 0; rank < hashes.size(); ++rank) {
      if (hashes[rank] == hashes[first]) same.push_back(static_cast<int>(rank));
    }
    if (same.front() == static_cast<int>(first)) groups.push_back(name_ranks(same));
  }
  return fmt::format("{}", fmt::join(groups, "; "));
}

// Of the tensors of all parts, the first on which the ranks differ.
std::string first_difference(const std::vector<ReplicatedPart>& parts,
                             const std::vector<std::vector<int64_t>>& hashes) {
  size_t i = 0;
  for (const ReplicatedPart& part : parts) {
    for (const auto& named : part.tensors) {
      const bool same = std::all_of(hashes.begin(), hashes.end(),
                                    [&](const auto& of_rank) { return of_rank[i] == hashes.front()[i]; });
      if (!same) return fmt::format("{}, first {}", part.name, named.first);
      ++i;
    }
  }
  return "";
}

std::string say_who_differs(const std::vector<std::vector<int64_t>>& hashes, const std::string& what,
                            const std::vector<std::string>& hosts) {
  const std::optional<std::vector<int>> odd = odd_ranks(hashes);
  if (!odd) {
    return fmt::format("the ranks hold different {}, and no majority says which is right ({})", what,
                       groups_of(hashes));
  }
  std::vector<std::string> places;
  for (const int rank : *odd) places.push_back(hosts[static_cast<size_t>(rank)]);
  return fmt::format("{} ({}) hold{} other {} than the other {}", name_ranks(*odd), fmt::join(places, ", "),
                     odd->size() == 1 ? "s" : "", what, hashes.size() - odd->size());
}

MUSTER_CLONES("avx512f", "avx2") bool finite_floats(const uint32_t* bits, int64_t count) {
  uint32_t largest = 0;
  for (int64_t i = 0; i < count; ++i) largest = std::max(largest, bits[i] & 0x7fffffffU);
  return largest < 0x7f800000U;
}

bool is_finite(const at::Tensor& tensor) {
  if (!tensor.is_floating_point()) return true;
  if (tensor.is_cpu() && tensor.scalar_type() == at::kFloat && tensor.is_contiguous()) {
    return finite_floats(static_cast<const uint32_t*>(tensor.const_data_ptr()), tensor.numel());
  }
  return at::isfinite(tensor).all().item<bool>();
}

// "weights, first image.patch.weight"; empty if there is none.
std::string first_non_finite(const std::vector<ReplicatedPart>& parts) {
  for (const ReplicatedPart& part : parts) {
    for (const auto& [name, tensor] : part.tensors) {
      if (!is_finite(tensor)) return fmt::format("{}, first {}", part.name, name);
    }
  }
  return "";
}

}  // namespace

void compare_ranks(const std::vector<ReplicatedPart>& parts, int64_t step, Communicator& communicator) {
  if (communicator.size() == 1) return;
  std::vector<int64_t> all;
  for (const ReplicatedPart& part : parts) {
    const std::vector<int64_t> hashes = hashes_of(part.tensors);
    all.insert(all.end(), hashes.begin(), hashes.end());
  }
  const auto of_ranks = gather_numbers({joined(all)}, communicator, "compare ranks");
  if (std::all_of(of_ranks.begin(), of_ranks.end(), [&](const auto& other) { return other == of_ranks.front(); })) {
    return;
  }
  const auto of_tensors = gather_numbers(all, communicator, "compare ranks' tensors");
  const auto hosts = gather_texts(host_name(), communicator, "compare ranks' hosts");
  throw CommError(
      fmt::format("after step {} {}: a fault of memory or processor, or processors of different kinds; nothing was "
                  "saved, the same command continues from the checkpoint before",
                  step, say_who_differs(of_tensors, first_difference(parts, of_tensors), hosts)));
}

void require_finite(const std::vector<ReplicatedPart>& parts, const NamedTensors& own, int64_t step,
                    Communicator& communicator) {
  std::string bad = first_non_finite(parts);
  if (bad.empty() && !own.empty()) bad = first_non_finite({{"references", own}});
  const at::Tensor found = at::scalar_tensor(bad.empty() ? 0 : 1, at::kInt);
  communicator.all_reduce(found, ReduceOp::kMax, "finite").wait();
  if (found.item<int>() == 0) return;
  for (const std::string& text : gather_texts(bad, communicator, "what is not finite")) {
    if (text.empty()) continue;
    bad = text;
    break;
  }
  throw NonFiniteError(fmt::format(
      "after step {} there are values that are not finite in {}; nothing was saved, the checkpoint before is "
      "good. Lower train.optimizer.rate or set train.clip_norm, and train anew or from a checkpoint",
      step, bad));
}

}  // namespace muster
