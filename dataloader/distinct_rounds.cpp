#include "dataloader/distinct_rounds.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace muster {
namespace {

int64_t below(KeyedRandom& random, int64_t bound) {
  return static_cast<int64_t>(random.next_below(static_cast<uint64_t>(bound)));
}

int64_t capped_sum(const std::vector<int64_t>& cards, int64_t most) {
  return std::accumulate(cards.begin(), cards.end(), int64_t{0},
                         [&](int64_t sum, int64_t count) { return sum + std::min(count, most); });
}

// Leaves exactly rounds * width cards, at most `rounds` of each group; every card beyond is as likely to go.
void trim(std::vector<int64_t>& cards, int64_t rounds, int64_t width, KeyedRandom& random) {
  std::vector<int64_t> owner;
  for (size_t group = 0; group < cards.size(); ++group) {
    cards[group] = std::min(cards[group], rounds);
    owner.insert(owner.end(), static_cast<size_t>(cards[group]), static_cast<int64_t>(group));
  }
  auto left = static_cast<int64_t>(owner.size());
  for (; left > rounds * width; --left) {
    std::swap(owner[static_cast<size_t>(below(random, left))], owner[static_cast<size_t>(left - 1)]);
    --cards[static_cast<size_t>(owner[static_cast<size_t>(left - 1)])];
  }
}

// The groups while the cards are dealt. `free` are those that may come, `bound` those that must, for they have as many
// cards as there are rounds left. That the cards left are rounds left x width, at most one a round and group, holds
// from round to round, so there are never more than `width` bound groups nor too few free ones.
class Table {
 public:
  Table(const std::vector<int64_t>& cards, int64_t rounds)
      : left_(cards), place_(cards.size()), with_count_(static_cast<size_t>(rounds) + 1) {
    for (size_t group = 0; group < cards.size(); ++group) {
      if (cards[group] == 0) continue;
      place_[group] = free_.size();
      free_.push_back(group);
      with_count_[static_cast<size_t>(cards[group])].push_back(group);
    }
  }

  void deal_round(int64_t rounds_left, int64_t width, KeyedRandom& random, std::vector<int64_t>& out) {
    std::vector<size_t>& candidates = with_count_[static_cast<size_t>(rounds_left)];
    for (const size_t group : candidates) {
      if (left_[group] == rounds_left) bind(group);  // else it has come since it was noted here
    }
    std::vector<size_t>().swap(candidates);
    for (const size_t group : bound_) out.push_back(static_cast<int64_t>(group));
    const auto wanted = static_cast<size_t>(width) - bound_.size();
    for (size_t i = 0; i < wanted; ++i) {
      const uint64_t drawn = random.next_below(free_.size() - i);
      move(i, i + static_cast<size_t>(drawn));
      out.push_back(static_cast<int64_t>(free_[i]));
    }
    for (size_t i = wanted; i-- > 0;) use_card(free_[i]);
  }

 private:
  void move(size_t a, size_t b) {
    std::swap(free_[a], free_[b]);
    place_[free_[a]] = a;
    place_[free_[b]] = b;
  }
  void take_out(size_t group) {
    move(place_[group], free_.size() - 1);
    free_.pop_back();
  }
  void bind(size_t group) {
    take_out(group);
    bound_.push_back(group);
  }
  void use_card(size_t group) {
    if (--left_[group] == 0) {
      take_out(group);
    } else {
      with_count_[static_cast<size_t>(left_[group])].push_back(group);
    }
  }

  std::vector<int64_t> left_;  // of the free groups
  std::vector<size_t> free_, bound_;
  std::vector<size_t> place_;  // of a group in free_
  std::vector<std::vector<size_t>> with_count_;
};

}  // namespace

int64_t most_rounds(const std::vector<int64_t>& cards, int64_t width) {
  int64_t low = 0;  // can be filled
  int64_t high = capped_sum(cards, INT64_MAX) / width + 1;
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    (capped_sum(cards, middle) >= middle * width ? low : high) = middle;
  }
  return low;
}

std::vector<int64_t> deal_distinct(std::vector<int64_t> cards, int64_t width, KeyedRandom& random) {
  const int64_t rounds = most_rounds(cards, width);
  trim(cards, rounds, width, random);
  std::vector<int64_t> groups;
  groups.reserve(static_cast<size_t>(rounds * width));
  Table table(cards, rounds);
  for (int64_t left = rounds; left > 0; --left) table.deal_round(left, width, random, groups);
  return groups;
}

}  // namespace muster
