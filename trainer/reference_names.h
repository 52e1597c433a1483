// Whose references a bank holds, by the names that the data sets give their identities: numbers are a store's own,
// names stay from one import to the next. In references.safetensors:
//
//   name.bytes    [sum] uint8   UTF-8, end to end, in the order of the rows
//   name.offsets  [m+1] int64   row i's name is bytes[offsets[i]:offsets[i+1]]
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dataloader/formats/safetensors.h"
#include "dataloader/formats/safetensors_rows.h"
#include "dataloader/training_stores.h"
#include "trainer/references/reference_order.h"

namespace muster {

NamedTensors reference_names(const ReferenceOrder& order, const TrainingStores& stores);

// A file's rows: their names and the numbers that its run gave their identities. DataError: names that do not add up.
struct NamedRows {
  std::vector<std::string> name;
  std::vector<int64_t> identity;
};
NamedRows read_named_rows(const SafetensorsFile& file);

// Which references of a bank are those of another one's rows, by name. Where several identities have a name, as those
// of several stores can, they are the same ones, in the order of their numbers, if there are as many on both sides,
// else none of them.
struct ReferenceMatch {
  std::vector<int64_t> identity_of;    // of each row there: the identity here, or -1
  std::vector<int64_t> appeared;       // identities here that no row there stands for, ascending
  std::vector<std::string> new_names;  // theirs
  std::vector<std::string> vanished;   // names of the identities there that are nobody here
};
ReferenceMatch match_references(const NamedRows& there, const ReferenceOrder& here, const TrainingStores& stores);

}  // namespace muster
