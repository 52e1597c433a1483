#pragma once

#include <memory>
#include <string>
#include <vector>

#include "dataloader/training_stores.h"

namespace muster {

// The stores named by --data PATH or --data PATH:TIMES, held open.
class OpenStores {
 public:
  // TIMES (1 to 1000): how often each of its samples stands in an epoch. A folder whose name ends in a colon and a
  // number is given as PATH:1. ConfigError: another number; a store given twice. DataError as Store.
  explicit OpenStores(const std::vector<std::string>& arguments);

  const TrainingStores& stores() const { return *stores_; }

 private:
  std::vector<std::unique_ptr<Store>> held_;
  std::unique_ptr<TrainingStores> stores_;
};

}  // namespace muster
