#include "comm/rank_numbers.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstring>

namespace muster {

std::vector<std::vector<int64_t>> gather_numbers(const std::vector<int64_t>& own, Communicator& communicator,
                                                 const std::string& name) {
  const auto count = static_cast<int64_t>(own.size());
  const at::Tensor input = at::empty({1, count}, at::kLong);
  std::copy(own.begin(), own.end(), input.mutable_data_ptr<int64_t>());
  const at::Tensor all = at::empty({communicator.size(), count}, at::kLong);
  communicator.all_gather(all, input, std::vector<int64_t>(static_cast<size_t>(communicator.size()), 1), name).wait();
  std::vector<std::vector<int64_t>> numbers;
  for (int rank = 0; rank < communicator.size(); ++rank) {
    const int64_t* first = all.const_data_ptr<int64_t>() + rank * count;
    numbers.emplace_back(first, first + count);
  }
  return numbers;
}

std::vector<std::string> gather_texts(const std::string& own, Communicator& communicator, const std::string& name) {
  std::vector<int64_t> bytes;
  int64_t total = 0;
  for (const auto& size : gather_numbers({static_cast<int64_t>(own.size())}, communicator, name + " sizes")) {
    bytes.push_back(size.front());
    total += size.front();
  }
  const at::Tensor input = at::empty({static_cast<int64_t>(own.size())}, at::kByte);
  std::memcpy(input.mutable_data_ptr(), own.data(), own.size());
  const at::Tensor all = at::empty({total}, at::kByte);
  communicator.all_gather(all, input, bytes, name).wait();
  std::vector<std::string> texts;
  const char* next = static_cast<const char*>(all.const_data_ptr());
  for (const int64_t size : bytes) {
    texts.emplace_back(next, static_cast<size_t>(size));
    next += size;
  }
  return texts;
}

std::optional<std::vector<int>> odd_ranks(const std::vector<std::vector<int64_t>>& numbers) {
  for (const auto& candidate : numbers) {
    const auto agreeing = std::count(numbers.begin(), numbers.end(), candidate);
    if (2 * agreeing <= static_cast<int64_t>(numbers.size())) continue;
    std::vector<int> odd;
    for (size_t rank = 0; rank < numbers.size(); ++rank) {
      if (numbers[rank] != candidate) odd.push_back(static_cast<int>(rank));
    }
    return odd;
  }
  return std::nullopt;
}

std::string name_ranks(const std::vector<int>& ranks) {
  std::string names = ranks.size() == 1 ? "rank " : "ranks ";
  for (size_t i = 0; i < ranks.size(); ++i) {
    if (i > 0) names += i + 1 == ranks.size() ? " and " : ", ";
    names += std::to_string(ranks[i]);
  }
  return names;
}

}  // namespace muster
