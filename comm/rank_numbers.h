// Whether the ranks agree on something, and which of them does not.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "comm/communicator.h"

namespace muster {

// Collective. Every rank's numbers, in rank order; as many on each.
std::vector<std::vector<int64_t>> gather_numbers(const std::vector<int64_t>& own, Communicator& communicator,
                                                 const std::string& name);

// Collective. Every rank's text, in rank order.
std::vector<std::string> gather_texts(const std::string& own, Communicator& communicator, const std::string& name);

// The ranks that have other numbers than more than half of all; none if all agree. nullopt: no half agrees.
std::optional<std::vector<int>> odd_ranks(const std::vector<std::vector<int64_t>>& numbers);

// "rank 2", "ranks 0 and 3", "ranks 0, 1 and 3".
std::string name_ranks(const std::vector<int>& ranks);

}  // namespace muster
