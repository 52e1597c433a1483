// Parameters' names and sizes, as modules register them.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "trainer/encoders/model_cost.h"

namespace muster {

class SizeList {
 public:
  void add(const std::string& name, int64_t count) { sizes_.push_back({name, count}); }
  void linear(const std::string& name, int64_t out, int64_t in) {
    add(name + ".weight", out * in);
    add(name + ".bias", out);
  }
  void norm(const std::string& name, int64_t width) {
    add(name + ".weight", width);
    add(name + ".bias", width);
  }
  std::vector<ParameterSize> take() { return std::move(sizes_); }

 private:
  std::vector<ParameterSize> sizes_;
};

}  // namespace muster
