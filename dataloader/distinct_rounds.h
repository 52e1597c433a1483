// Dealing out cards of many groups in rounds, such that no group is twice in a round.
#pragma once

#include <cstdint>
#include <vector>

#include "dataloader/random.h"

namespace muster {

// The most rounds of `width` different groups each that groups with so many cards can fill: the largest R with
// sum over g of min(cards[g], R) >= R * width. 0 if there are fewer groups than width.
int64_t most_rounds(const std::vector<int64_t>& cards, int64_t width);

// most_rounds() rounds, one after the other: the group at each of their rounds x width places. Cards beyond rounds *
// width are left out, chosen at random; in each round a group that has a card for every round left must come, and the
// others are drawn uniformly from the groups that have cards left. O(rounds * width + groups).
std::vector<int64_t> deal_distinct(std::vector<int64_t> cards, int64_t width, KeyedRandom& random);

}  // namespace muster
