#include "trainer/commands/same_start.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "comm/rank_numbers.h"
#include "comm/watchdog.h"
#include "dataloader/formats/hashes.h"
#include "launch/error.h"
#include "trainer/commands/describe_version.h"
#include "trainer/config_fields.h"

namespace muster {
namespace {

struct Item {
  const char* name;
  std::string value;
};

std::string program() {
  const std::string version = describe_version();
  return fmt::format("{}, hash {}", version.substr(0, version.find('\n')),
                     xxh3_128_hex_of_file("/proc/self/exe").substr(0, 8));
}

int64_t number_of(const std::string& text) {
  const uint64_t hash = xxh3_64(text.data(), text.size());
  int64_t number = 0;
  std::memcpy(&number, &hash, sizeof number);
  return number;
}

// The first field of two configs that differs, as "train.seed is 1 there and 2 here".
std::string first_field(const std::string& there, const std::string& here) {
  const ConfigFields old_fields = list_config_fields(there), new_fields = list_config_fields(here);
  const auto value_in = [](const ConfigFields& fields, const std::string& name) -> std::string {
    const auto found =
        std::find_if(fields.begin(), fields.end(), [&](const auto& field) { return field.first == name; });
    return found == fields.end() ? "not set" : found->second;
  };
  for (const ConfigFields* fields : {&old_fields, &new_fields}) {
    for (const auto& [name, value] : *fields) {
      const std::string before = value_in(old_fields, name), now = value_in(new_fields, name);
      if (before != now) return fmt::format("{} is {} there and {} here", name, before, now);
    }
  }
  return "";
}

// Those that have another number than most; where no half agrees, another than rank 0.
std::vector<int> ranks_that_differ(const std::vector<std::vector<int64_t>>& numbers) {
  if (const auto odd = odd_ranks(numbers)) return *odd;
  std::vector<int> ranks;
  for (size_t rank = 0; rank < numbers.size(); ++rank) {
    if (numbers[rank] != numbers.front()) ranks.push_back(static_cast<int>(rank));
  }
  return ranks;
}

// Collective.
std::string say_difference(const Item& item, const std::vector<int>& odd, Communicator& communicator) {
  const auto values = gather_texts(item.value, communicator, "what ranks were started with");
  const auto hosts = gather_texts(host_name(), communicator, "hosts");
  int other = 0;
  while (std::find(odd.begin(), odd.end(), other) != odd.end()) ++other;
  const std::string& there = values[static_cast<size_t>(odd.front())];
  const std::string& here = values[static_cast<size_t>(other)];
  const bool config = std::strcmp(item.name, "another config") == 0;
  return fmt::format("{} ({}) was started with {} than rank {}: {}; start all ranks alike", name_ranks(odd),
                     hosts[static_cast<size_t>(odd.front())], item.name, other,
                     config ? first_field(there, here) : fmt::format("{} there and {} here", there, here));
}

}  // namespace

void check_same_start(const Start& start, Communicator& communicator) {
  if (communicator.size() == 1) return;
  const std::vector<Item> items = {{"another program", program()},
                                   {"another config", start.config},
                                   {"another store", start.stores},
                                   {"another run folder", start.run_dir},
                                   {"other arguments", start.arguments}};
  std::vector<int64_t> own;
  for (const Item& item : items) own.push_back(number_of(item.value));
  const auto all = gather_numbers(own, communicator, "same start");
  for (size_t i = 0; i < items.size(); ++i) {
    std::vector<std::vector<int64_t>> of_ranks;
    for (const auto& numbers : all) of_ranks.push_back({numbers[i]});
    const std::vector<int> odd = ranks_that_differ(of_ranks);
    if (!odd.empty()) throw ConfigError(say_difference(items[i], odd, communicator));
  }
}

}  // namespace muster
